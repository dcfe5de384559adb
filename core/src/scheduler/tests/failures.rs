//! What failures lead to.

use super::*;

const INFRASTRUCTURE: FailureClass = FailureClass::Infrastructure;

#[test]
fn a_package_that_does_not_build_is_not_tried_again_and_blocks_what_waits_for_it() {
    let mut world = World::new();
    world.join(1, 2, 1_000);
    world.join(2, 2, 1_000);
    let started =
        world.submit(1, true, vec![job(1, &[], 9), job(2, &[1], 5), job(3, &[2], 5), job(4, &[], 1)]);
    world.finish(started[0], Outcome::Failed { class: COMPILE, message: "no stdint.h".into() });
    let states = [1, 2, 3, 4].map(|number| world.state(number));
    assert_eq!(states, [JobState::Failed, JobState::Blocked, JobState::Blocked, JobState::Running]);
    // The reason names the root of it, not what stands between.
    assert_eq!(
        world.why(3),
        "cat/p0003-1: blocked, blocked by cat/p0001-1: does not build (compile) on drone 1: no stdint.h"
    );
    world.finish(started[1], Outcome::Built);
    let (_, summary) = world.summaries()[0];
    assert_eq!((summary.end, summary.built, summary.failed), (PlanEnd::Finished, 1, 1));
    assert_eq!((summary.blocked, summary.goals, summary.goals_built), (2, 4, 1));
}

#[test]
fn where_asked_for_a_package_failure_is_confirmed_on_another_drone() {
    let limits = Limits { package_attempts: 3, ..Limits::STANDARD };
    let mut world = World::with(limits);
    world.join(1, 1, 2_000);
    world.join(2, 1, 1_000);
    let first = world.submit(1, true, vec![job(1, &[], 9)])[0];
    let second = world.finish(first, failed(COMPILE))[0];
    assert_eq!((first.drone, second.drone, second.attempt), (DroneId(1), DroneId(2), 2));
    // There is no third drone, and a second try on the same one tells nothing.
    assert_eq!(world.finish(second, failed(COMPILE)), []);
    assert_eq!(world.state(1), JobState::Failed);
}

#[test]
fn infrastructure_is_tried_again_later_and_elsewhere_up_to_its_limit() {
    let mut world = World::new();
    world.join(1, 1, 2_000);
    world.join(2, 1, 1_000);
    let first = world.submit(1, true, vec![job(1, &[], 9)])[0];
    assert_eq!(world.finish(first, failed(INFRASTRUCTURE)), []);
    assert_eq!(world.state(1), JobState::Delayed);
    assert!(world.why(1).contains("will be tried again; last attempt: infrastructure failed on drone 1"));
    assert_eq!(world.pass(4), []);
    let mut next = world.pass(1)[0];
    assert_eq!(next.drone, DroneId(2));
    for pause in [10, 20, 40] {
        assert_eq!(world.finish(next, failed(INFRASTRUCTURE)), []);
        assert_eq!(world.pass(pause - 1), []);
        next = world.pass(1)[0];
    }
    assert_eq!(next.attempt, 5);
    world.finish(next, failed(INFRASTRUCTURE));
    assert_eq!(world.state(1), JobState::Failed);
}

#[test]
fn a_full_tmpfs_means_the_disk_at_once_and_does_not_count() {
    let mut world = World::new();
    world.join(1, 1, 1_000);
    let first = world.submit(1, true, vec![job(1, &[], 9)])[0];
    assert_eq!(first.workspace, Workspace::Tmpfs);
    let second = world.finish(first, failed(FailureClass::NoSpace))[0];
    assert_eq!(second.workspace, Workspace::Disk);
    // A full disk is the drone's fault.
    assert_eq!(world.finish(second, failed(FailureClass::NoSpace)), []);
    assert_eq!(world.state(1), JobState::Delayed);
}

#[test]
fn timeout_and_memory_get_one_more_try_each_and_changed_inputs_none() {
    for (class, tries) in
        [(FailureClass::Timeout, 2), (FailureClass::OutOfMemory, 2), (FailureClass::InputsChanged, 1)]
    {
        let mut world = World::new();
        world.join(1, 1, 1_000);
        let mut next = world.submit(1, true, vec![job(1, &[], 9)]).first().copied();
        let mut count = 0;
        while let Some(started) = next {
            count += 1;
            next = world.finish(started, failed(class)).first().copied();
        }
        assert_eq!((count, world.state(1)), (tries, JobState::Failed), "{class}");
    }
}

#[test]
fn a_drone_that_fails_everything_is_let_rest_so_that_it_does_not_fail_the_whole_line() {
    let mut world = World::new();
    world.join(1, 1, 1_000);
    let mut next = world.submit(1, true, (1..=9).map(|number| job(number, &[], 9)).collect());
    for _ in 0..3 {
        next = world.finish(next[0], failed(INFRASTRUCTURE));
    }
    assert_eq!(next, []);
    assert_eq!(world.scheduler.hold(), Some(Hold::NoDroneTakesWork));
    assert!(world.why(9).contains("every drone is draining, silent, or resting"), "{}", world.why(9));
    assert_eq!(world.pass(5).len(), 1);
}

#[test]
fn without_keep_going_the_first_failure_stops_the_plan_but_not_what_runs() {
    let mut world = World::new();
    world.join(1, 2, 1_000);
    let jobs = vec![job(1, &[], 9), job(2, &[], 8), job(3, &[], 7), job(4, &[2], 1)];
    let started = world.submit(1, false, jobs);
    assert_eq!(world.finish(started[0], failed(COMPILE)), []);
    assert_eq!(world.state(3), JobState::Dropped);
    assert_eq!((world.state(2), world.summaries().len()), (JobState::Running, 0));
    assert_eq!(world.finish(started[1], Outcome::Built), []);
    let (_, summary) = world.summaries()[0];
    assert_eq!(summary.end, PlanEnd::Stopped { by: key(1) });
    assert_eq!((summary.built, summary.failed, summary.dropped), (1, 1, 2));
}

#[test]
fn an_endless_message_is_cut_between_characters() {
    let mut world = World::new();
    world.join(1, 1, 1_000);
    let started = world.submit(1, true, vec![job(1, &[], 9)])[0];
    let message = "é".repeat(5_000);
    world.finish(started, Outcome::Failed { class: COMPILE, message: format!("x{message}") });
    let Reason::GaveUp { last } = world.scheduler.explain(key(1)).unwrap().reason else { panic!() };
    assert_eq!(last.message.len(), MESSAGE_MAX_BYTES - 1);
}
