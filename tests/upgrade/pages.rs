//! What types a page: see `tests/cluster/pages.rs`.

#[path = "../cluster/pages/page.rs"]
pub mod page;
#[path = "../cluster/pages/seen.rs"]
mod seen;
#[path = "../cluster/pages/shell.rs"]
pub mod shell;
