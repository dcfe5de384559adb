//! Leases, fences and drones that come and go.

use super::*;

fn report(started: Started, outcome: Outcome) -> Event {
    let Started { drone, key, fence, .. } = started;
    Event::Finished { drone, fence, key, outcome }
}

#[test]
fn an_expired_lease_loses_its_job_but_not_its_artifact() {
    let mut world = World::new();
    world.join(1, 1, 1_000);
    let first = world.submit(1, true, vec![job(1, &[], 9), job(2, &[1], 9)])[0];
    assert_eq!(world.scheduler.deadline().unwrap().1, Wakeup::LeaseExpires { fence: first.fence });
    world.pass(59);
    assert_eq!(world.kills(), []);
    world.pass(1);
    assert_eq!(world.kills(), [(first.fence, KillReason::LeaseExpired)]);
    // Nothing is given to a drone of which nothing is heard.
    assert_eq!(world.state(1), JobState::Ready);
    assert_eq!(world.scheduler.hold(), Some(Hold::NoDroneTakesWork));
    let second = world.join(2, 1, 1_000)[0];
    assert!(second.fence > first.fence);
    // The late success counts, and the other attempt is for nothing.
    let next = world.finish(first, Outcome::Built);
    assert_eq!(world.state(1), JobState::Built);
    assert_eq!(world.kills().last(), Some(&(second.fence, KillReason::Superseded)));
    assert_eq!((next[0].key, next[0].drone), (key(2), DroneId(1)));
    // Once more, and the other one too: nothing new.
    assert_eq!(world.finish(first, Outcome::Built), []);
    assert_eq!(world.finish(second, Outcome::Built), []);
}

#[test]
fn a_late_failure_changes_nothing() {
    let mut world = World::new();
    world.join(1, 1, 1_000);
    let first = world.submit(1, true, vec![job(1, &[], 9)])[0];
    world.pass(60);
    let second = world.join(2, 1, 1_000)[0];
    assert_eq!(world.finish(first, failed(COMPILE)), []);
    assert_eq!(world.state(1), JobState::Running);
    world.finish(second, Outcome::Built);
    assert_eq!(world.finish(second, failed(COMPILE)), []);
    assert_eq!(world.state(1), JobState::Built);
}

#[test]
fn heartbeats_keep_a_lease_for_as_long_as_it_takes() {
    let mut world = World::new();
    world.join(1, 1, 1_000);
    let Started { drone, fence, .. } = world.submit(1, true, vec![job(1, &[], 9)])[0];
    for _ in 0..1_000 {
        world.pass(59);
        world.handle(Event::Heartbeat { drone, fence });
    }
    assert_eq!((world.kills(), world.state(1)), (vec![], JobState::Running));
}

#[test]
fn results_nobody_was_asked_for_are_refused_with_the_reason() {
    let mut world = World::new();
    world.join(1, 1, 1_000);
    let started = world.submit(1, true, vec![job(1, &[], 9)])[0];
    let mut refusal = |started: Started| world.try_handle(report(started, Outcome::Built)).unwrap_err();
    assert_eq!(refusal(Started { fence: Fence(7), ..started }).to_string(), "fence 7 was never issued");
    assert_eq!(
        refusal(Started { drone: DroneId(3), ..started }).to_string(),
        "fence 1 was not issued to drone 3"
    );
    assert!(matches!(refusal(Started { key: key(9), ..started }), Refusal::ForeignKey { .. }));
    assert_eq!(world.state(1), JobState::Running);
}

#[test]
fn a_slot_is_used_again_only_when_its_build_is_gone() {
    let mut world = World::new();
    world.join(1, 1, 1_000);
    let first = world.submit(1, true, vec![job(1, &[], 9)])[0];
    world.handle(Event::Cancel { plan: PlanId(1) });
    assert_eq!(world.kills(), [(first.fence, KillReason::Cancelled)]);
    assert_eq!(world.submit(2, true, vec![job(2, &[], 9)]), []);
    assert_eq!(world.finish(first, failed(FailureClass::Killed)).len(), 1);
    assert_eq!(world.state(1), JobState::Dropped);
}

#[test]
fn an_end_that_is_never_reported_does_not_hold_a_slot_for_good() {
    let mut world = World::new();
    world.join(1, 1, 1_000);
    world.submit(1, true, vec![job(1, &[], 9)]);
    world.handle(Event::Cancel { plan: PlanId(1) });
    assert_eq!(world.submit(2, true, vec![job(2, &[], 9)]), []);
    assert_eq!(world.pass(19), []);
    assert_eq!(world.pass(1).len(), 1);
}

#[test]
fn what_is_heard_of_without_a_lease_is_killed() {
    let mut world = World::new();
    world.join(1, 1, 1_000);
    let Started { drone, fence, .. } = world.submit(1, true, vec![job(1, &[], 9)])[0];
    // It comes back as a new session, and yet the old build reports.
    let again = world.join(1, 1, 1_000)[0];
    world.handle(Event::Heartbeat { drone, fence });
    assert_eq!(world.kills(), [(fence, KillReason::Stale)]);
    assert!(again.fence > fence && world.state(1) == JobState::Running);
}

#[test]
fn a_drone_that_leaves_gives_its_jobs_back_and_no_drone_is_no_failure() {
    let mut world = World::new();
    world.join(1, 2, 1_000);
    world.submit(1, true, vec![job(1, &[], 9), job(2, &[], 9)]);
    world.handle(Event::DroneLeft { drone: DroneId(1) });
    world.pass(100_000);
    assert_eq!([world.state(1), world.state(2)], [JobState::Ready; 2]);
    assert!(world.why(2).ends_with("number 2 of 2 in line, no drone is connected"), "{}", world.why(2));
    assert_eq!(world.join(2, 2, 1_000).len(), 2);
}

#[test]
fn a_build_that_takes_its_drones_down_is_given_up() {
    let mut world = World::new();
    world.submit(1, true, vec![job(1, &[], 9)]);
    for drone in 1..=8 {
        assert_eq!(world.join(drone, 1, 1_000).len(), 1);
        world.handle(Event::DroneLeft { drone: DroneId(drone) });
    }
    assert_eq!(world.state(1), JobState::Failed);
}

#[test]
fn a_caller_that_stood_still_does_not_hold_it_against_the_drones() {
    let mut world = World::new();
    world.join(1, 1, 1_000);
    world.submit(1, true, vec![job(1, &[], 9)]);
    world.now = world.now.after(LEASE_TERM + STALL + Duration::from_secs(1));
    world.handle(Event::Wake);
    assert_eq!((world.kills(), world.state(1)), (vec![], JobState::Running));
}

#[test]
fn draining_and_pausing_start_nothing_and_kill_nothing() {
    let mut world = World::new();
    world.join(1, 2, 1_000);
    world.submit(1, true, vec![job(1, &[], 9)]);
    world.handle(Event::Drain { drone: DroneId(1) });
    assert_eq!(world.submit(2, true, vec![job(2, &[], 9)]), []);
    world.handle(Event::Pause);
    assert_eq!(world.starts(Event::Undrain { drone: DroneId(1) }), []);
    assert_eq!(world.scheduler.hold(), Some(Hold::Paused));
    assert_eq!(world.starts(Event::Resume).len(), 1);
    assert_eq!(world.kills(), []);
}

#[test]
fn offers_out_of_bounds_are_refused() {
    let mut world = World::new();
    for (slots, speed) in [(0, 1_000), (SLOTS_MAX + 1, 1_000), (1, 0)] {
        let joined = Event::DroneJoined { drone: DroneId(1), offer: offer(slots, speed) };
        assert!(matches!(world.try_handle(joined), Err(Refusal::Offer { .. })));
    }
    let unknown = Refusal::UnknownDrone { drone: DroneId(1) };
    assert_eq!(world.try_handle(Event::DroneLeft { drone: DroneId(1) }), Err(unknown));
}
