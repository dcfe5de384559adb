//! Taking plans, sharing jobs, the order of starts, and telling how far it is.

use super::*;

fn refusal(jobs: Vec<JobRequest>) -> String {
    let mut world = World::new();
    let submit = Event::Submit { plan: PlanId(1), keep_going: true, jobs };
    let refusal = world.try_handle(submit).unwrap_err();
    assert_eq!(
        world.scheduler.progress(world.now),
        Progress { eta: Some(Duration::ZERO), ..Progress::default() }
    );
    refusal.to_string()
}

#[test]
fn a_plan_that_makes_no_sense_is_refused_whole() {
    assert_eq!(refusal(vec![job(1, &[1], 1)]), "cat/p0001-1 waits for itself");
    assert_eq!(
        refusal(vec![job(1, &[], 1), job(1, &[], 1)]),
        format!("cat/p0001-1 is listed twice under key {}", key(1))
    );
    assert_eq!(
        refusal(vec![job(1, &[], 1), job(2, &[3], 1)]),
        format!("cat/p0002-1 waits for key {}, which is not in the plan", key(3))
    );
    assert_eq!(
        refusal(vec![job(1, &[2], 1), job(2, &[3], 1), job(3, &[4], 1), job(4, &[2], 1)]),
        "packages wait for each other in a circle: \
         cat/p0002-1 → cat/p0003-1 → cat/p0004-1 → cat/p0002-1"
    );
}

#[test]
fn too_large_a_plan_is_refused_by_its_numbers() {
    let mut request = job(0, &[], 1);
    request.waits_for = vec![key(1); EDGES_MAX + 1];
    assert_eq!(refusal(vec![request]), "the plan has 1000001 edges, more than 1000000");
    assert_eq!(refusal(vec![job(0, &[], 1); JOBS_MAX + 1]), "the plan has 100001 jobs, more than 100000");
}

#[test]
fn a_chain_of_a_hundred_thousand_is_no_deeper_than_one() {
    let mut scheduler = Scheduler::new(Limits::STANDARD, Estimates::new(), Fence(1));
    let jobs =
        (0..JOBS_MAX).map(|at| job(at, &at.checked_sub(1).into_iter().collect::<Vec<_>>(), 1)).collect();
    let submit = Event::Submit { plan: PlanId(1), keep_going: true, jobs };
    scheduler.handle(Instant::START, submit).unwrap();
    let drone = DroneId(1);
    scheduler.handle(Instant::START, Event::DroneJoined { drone, offer: offer(1, 1_000) }).unwrap();
    let progress = scheduler.progress(Instant::START);
    assert_eq!(progress.eta, Some(Duration::from_secs(JOBS_MAX as u64)));
    while scheduler.poll().is_some() {}
    let failed = Event::Finished { drone, fence: Fence(1), key: key(0), outcome: failed(COMPILE) };
    scheduler.handle(Instant::START, failed).unwrap();
    assert_eq!(scheduler.progress(Instant::START).blocked, JOBS_MAX - 1);
}

#[test]
fn the_same_plan_again_is_nothing_and_another_under_its_number_is_refused() {
    let mut world = World::new();
    world.submit(1, true, vec![job(1, &[], 1), job(2, &[1], 1)]);
    assert_eq!(
        world.handle(Event::Submit {
            plan: PlanId(1),
            keep_going: true,
            jobs: vec![job(2, &[1, 1], 1), job(1, &[], 1)]
        }),
        []
    );
    let other = Event::Submit { plan: PlanId(1), keep_going: true, jobs: vec![job(1, &[], 1)] };
    let exists = SubmitError::PlanExists { plan: PlanId(1) };
    assert_eq!(world.try_handle(other), Err(Refusal::Submit(exists)));
}

#[test]
fn a_key_two_plans_want_is_built_once() {
    let mut world = World::new();
    world.join(1, 4, 1_000);
    let first = world.submit(1, true, vec![job(1, &[], 9), job(2, &[1], 9)]);
    assert_eq!(world.submit(2, true, vec![job(1, &[], 9), job(3, &[1], 9)]), []);
    assert_eq!(world.scheduler.explain(key(1)).unwrap().plans, [PlanId(1), PlanId(2)]);
    // One of them may give up without taking it from the other.
    world.handle(Event::Cancel { plan: PlanId(1) });
    assert_eq!(world.kills(), []);
    let next = world.finish(first[0], Outcome::Built);
    assert_eq!(next.iter().map(|started| started.key).collect::<Vec<_>>(), [key(3)]);
    world.finish(next[0], Outcome::Built);
    let ends: Vec<_> = world.summaries().iter().map(|(plan, summary)| (*plan, summary.end)).collect();
    assert_eq!(ends, [(PlanId(1), PlanEnd::Cancelled), (PlanId(2), PlanEnd::Finished)]);
}

#[test]
fn what_failed_starts_afresh_when_it_is_asked_for_again() {
    let mut world = World::new();
    world.join(1, 1, 1_000);
    let started = world.submit(1, true, vec![job(1, &[], 9), job(2, &[1], 9)])[0];
    world.finish(started, failed(COMPILE));
    let again = world.submit(2, true, vec![job(1, &[], 9), job(2, &[1], 9)])[0];
    assert_eq!((again.attempt, world.state(2)), (2, JobState::Waiting));
    assert!(world.why(2).ends_with("waiting, waits for cat/p0001-1"), "{}", world.why(2));
    let next = world.finish(again, Outcome::Built)[0];
    world.finish(next, Outcome::Built);
    assert_eq!(world.summaries().last().unwrap().1.goals_built, 2);
}

#[test]
fn a_finished_plan_is_kept_until_it_is_forgotten() {
    let mut world = World::new();
    world.join(1, 1, 1_000);
    let started = world.submit(1, true, vec![job(1, &[], 9)])[0];
    let forget = Event::Forget { plan: PlanId(1) };
    assert_eq!(world.try_handle(forget.clone()), Err(Refusal::PlanOpen { plan: PlanId(1) }));
    world.finish(started, Outcome::Built);
    assert_eq!(world.state(1), JobState::Built);
    world.handle(forget);
    assert_eq!(world.scheduler.explain(key(1)), None);
    // A result that comes once more finds nothing and is no error.
    world.finish(started, Outcome::Built);
}

#[test]
fn an_empty_plan_is_done_at_once() {
    let mut world = World::new();
    world.submit(1, true, vec![]);
    assert_eq!(world.summaries().len(), 1);
}

#[test]
fn the_longest_chain_goes_first_and_to_the_fastest_drone() {
    let mut world = World::new();
    world.handle(Event::Pause);
    world.join(1, 1, 1_000);
    world.join(2, 1, 3_000);
    world.join(3, 1, 2_000);
    world.submit(1, true, vec![job(1, &[], 50), job(2, &[], 10), job(3, &[2], 60), job(4, &[], 50)]);
    let order: Vec<_> =
        world.starts(Event::Resume).iter().map(|started| (started.key, started.drone.0)).collect();
    assert_eq!(order, [(key(2), 2), (key(1), 3), (key(4), 1)]);
}

#[test]
fn time_to_go_is_the_longest_chain_or_all_work_over_all_slots() {
    let mut world = World::new();
    world.submit(1, true, vec![job(1, &[], 100), job(2, &[1], 60), job(3, &[], 80)]);
    assert_eq!(world.scheduler.progress(world.now).eta, None);
    world.join(1, 1, 1_000);
    let eta = |world: &World| world.scheduler.progress(world.now).eta.unwrap().as_secs();
    assert_eq!(eta(&world), 240);
    world.join(2, 1, 2_000);
    // The chain of 160 s at double speed is 80 s, and so is 240 s of work over three times the reference.
    assert_eq!(eta(&world), 80);
    world.now = world.now.after(Duration::from_secs(40));
    // 40 s of the first are done at speed 1,000 and 80 s of the third at 2,000.
    assert_eq!(eta(&world), 60);
    assert_eq!(world.scheduler.plan_progress(world.now, PlanId(1)).unwrap().running, 2);
}

#[test]
fn build_times_are_learned_at_the_reference_speed() {
    let mut world = World::new();
    world.join(1, 1, 2_000);
    let started = world.submit(1, true, vec![job(1, &[], 9)])[0];
    world.now = world.now.after(Duration::from_secs(30));
    world.finish(started, Outcome::Built);
    assert_eq!(world.scheduler.estimates().of("cat/p0001"), Some(Duration::from_secs(60)));
}
