//! Stories that take minutes each: one after the other without each of the operator's permissions, and against engines
//! that answer more than memory holds.
//!
//! `make test` leaves them out, by the name of this module; `make test-all` has them.

mod fairness;
mod permissions;
