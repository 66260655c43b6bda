//! The stand-in's SQL compiler: from program text to the description that the engine compares.

pub mod connectors;
pub mod dialect;
pub mod message;
pub mod parse;
pub mod program;
pub mod relations;
pub mod schema;
pub mod tokens;
pub mod types;
pub mod udf;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use sha2::{Digest, Sha256};

pub use message::SqlMessage;
pub use program::Program;

/// Parsing recurses with the nesting of the program, so it gets a stack of its own (bytes).
const STACK: usize = 64 << 20;

/// Programs kept compiled; the same text is compiled again and again in tests.
const CACHED: usize = 256;

/// What came of a compilation.
#[derive(Debug)]
pub struct Compiled {
    /// The program, or the errors.
    pub program: Result<Arc<Program>, Vec<SqlMessage>>,
    /// Warnings of a program that compiles.
    pub warnings: Vec<SqlMessage>,
}

/// Compiles a program.
pub fn compile(sql: &str) -> Compiled {
    let text = sql.to_owned();
    let result = std::thread::Builder::new()
        .name("sql-compiler".to_owned())
        .stack_size(STACK)
        .spawn(move || {
            let statements = parse::parse_program(&text)?;
            program::describe(&text, &statements)
        })
        .map(|thread| thread.join());
    let failure = |what: &str| {
        Err(SqlMessage::semantic(
            sqlparser::tokenizer::Span::empty(),
            format!("the stand-in's compiler {what} (a defect of the stand-in)"),
        ))
    };
    let result = match result {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => failure("panicked"),
        Err(_) => failure("could not start a thread"),
    };
    match result {
        Ok((program, warnings)) => Compiled {
            program: Ok(Arc::new(program)),
            warnings: warnings.into_iter().map(|w| w.with_snippet(sql)).collect(),
        },
        Err(error) => Compiled {
            program: Err(vec![error.with_snippet(sql)]),
            warnings: Vec::new(),
        },
    }
}

/// As [`compile`], but the same text is compiled only once.
pub fn compile_cached(sql: &str) -> Arc<Compiled> {
    static CACHE: OnceLock<Mutex<HashMap<[u8; 32], Arc<Compiled>>>> = OnceLock::new();
    let cache = CACHE.get_or_init(Mutex::default);
    let key: [u8; 32] = Sha256::digest(sql.as_bytes()).into();
    // A poisoned cache is still a cache of complete entries.
    if let Some(found) = cache
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get(&key)
    {
        return found.clone();
    }
    let compiled = Arc::new(compile(sql));
    let mut cache = cache.lock().unwrap_or_else(PoisonError::into_inner);
    if cache.len() >= CACHED {
        cache.clear();
    }
    cache.insert(key, compiled.clone());
    compiled
}
