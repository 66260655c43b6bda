//! The documents, held to what is seen: each test types the commands of one page, in their order, on a
//! real API server, and compares what is then said with what the page shows.
//!
//! What a page looks like:
//!
//! - A block of commands begins with three backticks and `console`. A command is a line that begins with
//!   `$ `; what it says stands below. A command below which nothing stands has to succeed, and may say
//!   anything.
//! - A line `…` below a command stands for any lines; `…` at the end of a line for anything that follows.
//! - What differs from run to run (times, ages, uids) is compared by its place. Change ids are compared by
//!   which is which: a page may use an id in a command that a command before it has shown.
//! - A command that ends in ` -w` is ended once everything that the page shows was seen, in that order.
//! - A block of `yaml` or `sql` whose first line is a comment with a file's name and nothing else is
//!   that file.
//!
//! `SLUICE_UPDATE_DOCS=1` writes what is seen into the page, instead of comparing.
//!
//! `tests/docs.rs` holds every page with commands to having such a test.
//!
//! - [`page`](sluice_test_support::pages::page): a page in parts, and one that is being typed
//! - [`seen`]: what is shown and what is seen, compared
//! - [`shell`]: where commands are typed
//! - [`scene`]: the clusters that they are typed on

mod scene;

mod approving;
mod concepts;
mod first_pipeline;
mod install;
mod plugin;
mod readme;
mod troubleshooting;
