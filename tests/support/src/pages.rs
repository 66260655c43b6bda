//! A page of the documents whose commands are typed: in parts, and while it is being typed ([`page`]); what is shown and what is
//! seen, compared ([`seen`]); where commands are typed ([`shell`]).

pub mod page;
pub mod seen;
pub mod shell;
