//! Which relations a query reads.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use sqlparser::ast::{Expr, ObjectName, Query, Visitor};
use sqlparser::tokenizer::Span;

use super::dialect::TABLE_ARGUMENT;
use super::parse::Name;

/// Collects the relations that a query reads, and the names of its common table expressions.
#[derive(Debug, Default)]
pub struct Relations {
    /// Relations, and where they are named.
    pub names: Vec<(String, Span)>,
    /// Common table expressions.
    pub local: BTreeSet<String>,
}

impl Relations {
    fn found(&mut self, idents: &[&sqlparser::ast::Ident]) {
        if let Some(last) = idents.last() {
            self.names
                .push((Name::from_ident(last).canonical, last.span));
        }
    }
}

impl Visitor for Relations {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            self.local
                .insert(Name::from_ident(&cte.alias.name).canonical);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        let idents: Vec<_> = relation.0.iter().filter_map(|p| p.as_ident()).collect();
        self.found(&idents);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Prefixed { prefix, value } = expr
            && prefix.value == TABLE_ARGUMENT
            && let Expr::CompoundIdentifier(idents) = value.as_ref()
        {
            self.found(&idents.iter().collect::<Vec<_>>());
        }
        ControlFlow::Continue(())
    }
}
