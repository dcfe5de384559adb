//! Jobs for which an earlier build does.

use super::*;

fn keys(started: &[Started]) -> Vec<BuildKey> {
    started.iter().map(|started| started.key).collect()
}

#[test]
fn a_job_is_looked_up_once_everything_it_waits_for_is_built_and_not_before() {
    let mut world = World::new();
    world.join(1, 2, 1_000);
    let first = world.submit(1, true, vec![job(1, &[], 9), job(2, &[], 9), reusable(3, &[1, 2], 9)]);
    world.finish(first[0], Outcome::Built);
    assert_eq!((world.questions(), world.state(3)), (vec![], JobState::Waiting));
    assert_eq!(world.finish(first[1], Outcome::Built), []);
    assert_eq!(world.questions(), [(key(3), Question(1))]);
    assert_eq!(
        world.why(3),
        "cat/p0003-1: resolving, everything it waits for is built; an earlier build may do"
    );
    // It takes as long as it takes, and holds nothing.
    world.pass(100_000);
    assert_eq!((world.questions().len(), world.scheduler.drones().next().unwrap().in_use), (1, 0));
}

#[test]
fn what_is_found_is_not_built_and_what_waits_for_it_goes_on() {
    let mut world = World::new();
    world.join(1, 1, 1_000);
    assert_eq!(world.submit(1, true, vec![reusable(1, &[], 50), reusable(2, &[1], 60), job(3, &[2], 7)]), []);
    world.now = world.now.after(Duration::from_secs(30));
    assert_eq!(world.answer(true), []);
    assert_eq!(world.why(1), "cat/p0001-1: reused, an earlier build does");
    let progress = world.scheduler.progress(world.now);
    assert_eq!((progress.done, progress.reused, progress.waiting), (1, 1, 2));
    assert_eq!(progress.eta, Some(Duration::from_secs(67)));
    // The second is asked about after the first: its answer depends on it.
    assert_eq!(world.questions().last(), Some(&(key(2), Question(2))));
    let last = world.answer(true);
    assert_eq!(keys(&last), [key(3)]);
    world.finish(last[0], Outcome::Built);
    let (_, summary) = world.summaries()[0];
    assert_eq!((summary.end, summary.built, summary.reused), (PlanEnd::Finished, 1, 2));
    assert_eq!((summary.goals, summary.goals_built), (3, 3));
    // What was not built took no time that could be learned.
    assert_eq!(world.scheduler.estimates().of("cat/p0001"), None);
}

#[test]
fn what_is_not_found_is_built_and_not_looked_up_again() {
    let mut world = World::new();
    world.join(1, 1, 1_000);
    world.submit(1, true, vec![reusable(1, &[], 9)]);
    let started = world.answer(false);
    assert_eq!(keys(&started), [key(1)]);
    world.finish(started[0], failed(FailureClass::Infrastructure));
    assert_eq!((world.state(1), world.questions().len()), (JobState::Delayed, 1));
    let again = world.pass(5);
    world.finish(again[0], failed(COMPILE));
    assert_eq!((world.state(1), world.questions().len()), (JobState::Failed, 1));
    // Asked for once more, it starts afresh.
    world.submit(2, true, vec![reusable(1, &[], 9)]);
    assert_eq!((world.state(1), world.questions().len()), (JobState::Resolving, 2));
}

#[test]
fn a_plan_that_wants_a_build_gets_one_whatever_the_others_take() {
    for strict in [1, 2] {
        let mut world = World::new();
        for plan in [1, 2] {
            let request = JobRequest { resolve: plan != strict, ..job(1, &[], 9) };
            world.submit(plan, true, vec![request]);
        }
        assert_eq!(world.state(1), JobState::Ready);
        // Once only plans are left that take a reuse, it is looked up.
        world.handle(Event::Cancel { plan: PlanId(strict) });
        assert_eq!(world.state(1), JobState::Resolving);
    }
}

#[test]
fn a_strict_plan_that_stops_at_a_failure_counts_until_it_is_done() {
    let mut world = World::new();
    world.join(1, 1, 1_000);
    let first = world.submit(1, false, vec![job(1, &[], 9), job(2, &[], 1)])[0];
    world.submit(2, true, vec![reusable(2, &[], 1)]);
    assert_eq!(keys(&world.finish(first, failed(COMPILE))), [key(2)]);
    assert_eq!(world.questions(), []);
}

#[test]
fn what_was_reused_is_built_for_a_strict_plan_and_asked_about_anew_for_another() {
    let mut world = World::new();
    world.join(1, 1, 1_000);
    world.submit(1, true, vec![reusable(1, &[], 9), job(2, &[1], 9)]);
    let dependent = world.answer(true)[0];
    assert_eq!((dependent.key, world.state(1)), (key(2), JobState::Reused));
    world.submit(2, true, vec![reusable(1, &[], 9)]);
    assert_eq!((world.state(1), world.questions().len()), (JobState::Resolving, 2));
    world.answer(true);
    assert_eq!(world.state(1), JobState::Reused);
    world.submit(3, true, vec![job(1, &[], 9)]);
    assert_eq!(world.state(1), JobState::Ready);
    // What was started upon it goes on.
    assert_eq!((world.state(2), world.kills()), (JobState::Running, vec![]));
    let started = world.finish(dependent, Outcome::Built);
    assert_eq!(keys(&started), [key(1)]);
    world.finish(started[0], Outcome::Built);
    let ends: Vec<_> =
        world.summaries().iter().map(|(plan, summary)| (plan.0, summary.built, summary.reused)).collect();
    assert_eq!(ends, [(2, 0, 1), (1, 2, 0), (3, 1, 0)]);
}

#[test]
fn a_plan_that_comes_to_a_job_by_another_has_not_said_that_it_takes_a_reuse() {
    let mut world = World::new();
    world.submit(1, true, vec![reusable(2, &[], 9)]);
    world.submit(2, true, vec![reusable(1, &[], 9), reusable(2, &[1], 9)]);
    assert_eq!(world.state(1), JobState::Ready);
}

#[test]
fn an_answer_that_was_overtaken_changes_nothing() {
    let mut world = World::new();
    world.join(1, 1, 1_000);
    let late = |question| Event::Resolved { key: key(1), question: Question(question), found: true };
    world.submit(1, true, vec![reusable(1, &[], 9)]);
    // Another plan has joined: what does for the first need not do for it.
    world.submit(2, true, vec![reusable(1, &[], 9)]);
    assert_eq!(world.questions(), [(key(1), Question(1)), (key(1), Question(2))]);
    assert_eq!(world.handle(late(1)), []);
    assert_eq!(world.state(1), JobState::Resolving);
    // Nobody wants it any more.
    world.handle(Event::Cancel { plan: PlanId(1) });
    world.handle(Event::Cancel { plan: PlanId(2) });
    assert_eq!(world.state(1), JobState::Dropped);
    assert_eq!(world.handle(late(2)), []);
    // Its plans are forgotten, and it comes back.
    world.handle(Event::Forget { plan: PlanId(1) });
    world.handle(Event::Forget { plan: PlanId(2) });
    assert_eq!(world.handle(late(2)), []);
    world.submit(3, true, vec![reusable(1, &[], 9)]);
    assert_eq!(world.handle(late(2)), []);
    assert_eq!(world.state(1), JobState::Resolving);
    assert_eq!(world.answer(true), []);
    // Twice is once.
    assert_eq!(world.handle(late(3)), []);
    assert_eq!(world.handle(Event::Resolved { key: key(1), question: Question(3), found: false }), []);
    assert_eq!(world.state(1), JobState::Reused);
}

#[test]
fn an_answer_to_what_was_never_asked_is_refused() {
    let mut world = World::new();
    world.submit(1, true, vec![reusable(1, &[], 9)]);
    let answer = Event::Resolved { key: key(1), question: Question(2), found: true };
    let unknown = Refusal::UnknownQuestion { question: Question(2) };
    assert_eq!(world.try_handle(answer), Err(unknown));
    assert_eq!(world.state(1), JobState::Resolving);
}

#[test]
fn a_question_about_what_has_to_wait_again_is_overtaken() {
    let mut world = World::new();
    world.submit(1, true, vec![reusable(1, &[], 9), reusable(2, &[1], 9)]);
    world.answer(true);
    let (_, about_second) = world.questions()[1];
    // The first is to be built after all: what the second was looked up by is not what it will be built upon.
    world.submit(2, true, vec![job(1, &[], 9)]);
    assert_eq!(world.state(2), JobState::Waiting);
    world.handle(Event::Resolved { key: key(2), question: about_second, found: true });
    assert_eq!(world.state(2), JobState::Waiting);
    let first = world.join(1, 1, 1_000)[0];
    world.finish(first, Outcome::Built);
    assert_eq!(world.questions().last(), Some(&(key(2), Question(3))));
}

#[test]
fn a_build_that_is_done_late_saves_the_look_up_and_comes_too_late_for_a_reuse() {
    for found_first in [false, true] {
        let mut world = World::new();
        world.join(1, 1, 1_000);
        let lost = world.submit(1, true, vec![job(1, &[], 9)])[0];
        world.submit(2, true, vec![reusable(1, &[], 9)]);
        world.handle(Event::Cancel { plan: PlanId(1) });
        // It runs on for the other plan, until its lease expires.
        assert_eq!(world.state(1), JobState::Running);
        world.pass(60);
        assert_eq!(world.state(1), JobState::Resolving);
        if found_first {
            world.answer(true);
        }
        world.finish(lost, Outcome::Built);
        assert_eq!(world.state(1), JobState::Built);
        assert_eq!(world.answer(false), []);
        assert_eq!(world.state(1), JobState::Built);
    }
}

#[test]
fn a_paused_scheduler_looks_up_and_starts_nothing() {
    let mut world = World::new();
    world.join(1, 1, 1_000);
    world.handle(Event::Pause);
    world.submit(1, true, vec![reusable(1, &[], 9), reusable(2, &[1], 9)]);
    assert_eq!(world.answer(true), []);
    assert_eq!(world.answer(false), []);
    assert_eq!([world.state(1), world.state(2)], [JobState::Reused, JobState::Ready]);
}
