//! What types a page: see `tests/cluster/tools/pages.rs`.

#[path = "../cluster/tools/pages/page.rs"]
pub mod page;
#[path = "../cluster/tools/pages/seen.rs"]
mod seen;
#[path = "../cluster/tools/pages/shell.rs"]
pub mod shell;
