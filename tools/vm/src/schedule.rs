// SPDX-License-Identifier: GPL-2.0-or-later

//! Suites beside each other: most of the time a guest waits for something.

use std::sync::mpsc;
use std::thread;

use anyhow::Result;

use crate::report::Suite;

/// What may be beside a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beside {
    /// Others, as many as there are places.
    Others,
    /// Nothing: it measures time.
    Nothing,
    /// Anything: it only needs the processors when nobody else does, and takes no place. There is
    /// one of these at a time.
    Anything,
}

/// A suite to be run.
pub struct Task<'a> {
    /// What may be beside it.
    pub beside: Beside,
    /// Seconds that it usually takes.
    pub usual: u64,
    /// Runs it. An error is why nothing more is to be run.
    pub work: Box<dyn FnOnce() -> Result<Suite> + Send + 'a>,
}

/// Runs all tasks, as many at once as there are `places`, the longest first; `ended` sees each
/// suite when it is there. Returns the suites in the order of the tasks.
///
/// After an error nothing more is started, and it is returned when all that runs has ended.
pub fn run(
    tasks: Vec<Task<'_>>,
    places: usize,
    mut ended: impl FnMut(&Suite),
) -> Result<Vec<Suite>> {
    let mut waiting = order(&tasks);
    let mut tasks: Vec<Option<Task<'_>>> = tasks.into_iter().map(Some).collect();
    let mut suites: Vec<Option<Suite>> = tasks.iter().map(|_| None).collect();
    let mut running: Vec<(usize, Beside)> = Vec::new();
    let mut failed = None;
    let (sender, ends) = mpsc::channel();
    thread::scope(|scope| -> Result<()> {
        loop {
            while failed.is_none() {
                let beside: Vec<Beside> = running.iter().map(|(_, beside)| *beside).collect();
                let Some(at) = waiting
                    .iter()
                    .position(|(_, wanted)| may_start(*wanted, &beside, places))
                else {
                    break;
                };
                let (index, wanted) = waiting.remove(at);
                let Some(task) = tasks[index].take() else {
                    continue;
                };
                running.push((index, wanted));
                let sender = sender.clone();
                // The guest's processes live as long as the thread that starts them.
                scope.spawn(move || {
                    if wanted == Beside::Anything {
                        stand_back();
                    }
                    // The receiver lives longer than the threads.
                    let _ = sender.send((index, (task.work)()));
                });
            }
            if running.is_empty() {
                return Ok(());
            }
            let (index, result) = ends.recv()?;
            running.retain(|(other, _)| *other != index);
            match result {
                Ok(suite) => {
                    ended(&suite);
                    suites[index] = Some(suite);
                }
                Err(error) => failed = Some(error),
            }
        }
    })?;
    match failed {
        Some(error) => Err(error),
        None => Ok(suites.into_iter().flatten().collect()),
    }
}

/// In which order tasks are looked at: those that need to be alone come last.
fn order(tasks: &[Task<'_>]) -> Vec<(usize, Beside)> {
    let mut order: Vec<usize> = (0..tasks.len()).collect();
    order.sort_by_key(|&at| {
        let task = &tasks[at];
        let usual = match task.beside {
            // In their own order.
            Beside::Anything => 0,
            _ => u64::MAX - task.usual,
        };
        (task.beside == Beside::Nothing, usual)
    });
    order.into_iter().map(|at| (at, tasks[at].beside)).collect()
}

/// Whether a task may be started beside those that run.
fn may_start(wanted: Beside, running: &[Beside], places: usize) -> bool {
    let count = |beside| running.iter().filter(|other| **other == beside).count();
    if count(Beside::Nothing) > 0 {
        return false;
    }
    match wanted {
        Beside::Others => count(Beside::Others) < places,
        Beside::Nothing => running.is_empty(),
        Beside::Anything => count(Beside::Anything) == 0,
    }
}

/// Makes this thread, and what it starts, give way to everything else.
fn stand_back() {
    // SAFETY: it takes no pointers. On Linux it concerns the calling thread only.
    unsafe { nix::libc::nice(10) };
}

#[cfg(test)]
mod tests {
    use std::sync::{Barrier, Mutex};

    use anyhow::bail;

    use super::*;

    /// What was seen to start (+) and to end (-), in order.
    #[derive(Default)]
    struct Log(Mutex<Vec<String>>);

    impl Log {
        fn task<'a>(&'a self, name: &'a str, beside: Beside, usual: u64) -> Task<'a> {
            self.doing(name, beside, usual, || ())
        }

        /// A task that does not end before `barrier` has met as many.
        fn meeting<'a>(&'a self, name: &'a str, beside: Beside, barrier: &'a Barrier) -> Task<'a> {
            self.doing(name, beside, 1, || {
                barrier.wait();
            })
        }

        fn doing<'a>(
            &'a self,
            name: &'a str,
            beside: Beside,
            usual: u64,
            work: impl FnOnce() + Send + 'a,
        ) -> Task<'a> {
            Task {
                beside,
                usual,
                work: Box::new(move || {
                    self.0.lock().unwrap().push(format!("+{name}"));
                    work();
                    self.0.lock().unwrap().push(format!("-{name}"));
                    Ok(Suite::new(name))
                }),
            }
        }

        fn seen(&self) -> String {
            self.0.lock().unwrap().join(" ")
        }

        /// The largest number of tasks that ran at once.
        fn most(&self) -> usize {
            let mut now = 0;
            let mut most = 0;
            for line in self.0.lock().unwrap().iter() {
                now = if line.starts_with('+') {
                    now + 1
                } else {
                    now - 1
                };
                most = most.max(now);
            }
            most
        }
    }

    #[test]
    fn the_longest_is_first_and_the_suites_are_in_order() {
        let log = Log::default();
        let tasks = vec![
            log.task("short", Beside::Others, 1),
            log.task("long", Beside::Others, 9),
        ];
        let suites = run(tasks, 1, |_| {}).unwrap();
        let names: Vec<&str> = suites.iter().map(|suite| suite.name.as_str()).collect();
        assert_eq!(names, ["short", "long"]);
        assert_eq!(log.seen(), "+long -long +short -short");
    }

    #[test]
    fn no_more_than_the_places_run_at_once() {
        let log = Log::default();
        let two = Barrier::new(2);
        let names = ["a", "b", "c", "d", "e", "f"];
        let tasks = names.map(|name| log.meeting(name, Beside::Others, &two));
        run(tasks.into(), 2, |_| {}).unwrap();
        assert_eq!(log.most(), 2);
    }

    #[test]
    fn what_measures_time_is_alone() {
        let log = Log::default();
        let tasks = vec![
            log.task("alone", Beside::Nothing, 9),
            log.task("a", Beside::Others, 1),
            log.task("b", Beside::Anything, 1),
        ];
        run(tasks, 3, |_| {}).unwrap();
        assert!(log.seen().ends_with("+alone -alone"), "{}", log.seen());
    }

    #[test]
    fn what_stands_back_takes_no_place() {
        let log = Log::default();
        let two = Barrier::new(2);
        let tasks = vec![
            log.meeting("first", Beside::Anything, &two),
            log.task("second", Beside::Anything, 9),
            log.meeting("a", Beside::Others, &two),
        ];
        run(tasks, 1, |_| {}).unwrap();
        assert!(log.seen().find("-first") < log.seen().find("+second"));
    }

    #[test]
    fn after_an_error_nothing_is_started() {
        let log = Log::default();
        let bad = Task {
            beside: Beside::Others,
            usual: 9,
            work: Box::new(|| bail!("no")),
        };
        let tasks = vec![log.task("a", Beside::Others, 1), bad];
        assert!(run(tasks, 1, |_| {}).is_err());
        assert_eq!(log.seen(), "");
    }
}
