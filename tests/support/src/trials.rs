//! Stories that mostly wait for tools which look every few seconds: more of them go on at a time than there are
//! processors, which the standard harness would not do.

use libtest_mimic::{Arguments, Failed, Trial};

/// How many stories go on at a time, unless `--test-threads` says otherwise.
const AT_A_TIME: usize = 7;

/// A test of a story, by its name.
pub fn trial(name: &str, story: impl Future<Output = ()> + Send + 'static) -> Trial {
    Trial::test(name, || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Failed::from)?;
        runtime.block_on(story);
        Ok(())
    })
}

/// The tests of these stories, named after them.
#[macro_export]
macro_rules! trials {
    ($($story:ident),* $(,)?) => {
        vec![$($crate::trials::trial(stringify!($story), $story())),*]
    };
}
pub use trials;

/// Runs them as the arguments of this program say, and ends it.
pub fn run(trials: Vec<Trial>) {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_A_TIME);
    libtest_mimic::run(&arguments, trials).exit();
}
