//! Shares that are lost, given out, taken back and divided anew.

use proptest::prelude::*;

use super::*;

fn holder(index: u32) -> Holder {
    (index, "a".into())
}

fn receivers(indexes: &[u32]) -> Vec<Receiver> {
    let receiver = |index: &u32| Receiver {
        holder: holder(*index),
        cores: 1 + index % 2,
    };
    indexes.iter().map(receiver).collect()
}

fn terms() -> Terms {
    Terms {
        from: Duration::from_secs(5),
        most: 100,
        one_thread: false,
    }
}

fn begun(workers: u32) -> Shares {
    let mut shares = Shares::default();
    for index in 0..workers {
        shares.begin(&holder(index), Duration::ZERO, None);
    }
    shares
}

fn state(part: &fleet::Part, iterations: u64, over: bool, cut: bool) -> fleet::PartState {
    fleet::PartState {
        part: Some(*part),
        iterations,
        over,
        cut,
    }
}

/// Threads of `share` that are carried, out of how many.
fn threads(shares: &Shares, share: u32) -> Vec<(u32, u32)> {
    let carried = shares.parts.values();
    let carried = carried.filter(|part| part.share == share && part.state == State::Carried);
    let mut threads: Vec<_> = carried
        .flat_map(|part| {
            let of = part.step * part.threads;
            (0..part.threads).map(move |nth| (part.first + nth * part.step, of))
        })
        .collect();
    threads.sort_unstable();
    threads
}

#[test]
fn a_lost_share_is_divided_among_the_others_without_gap_or_overlap() {
    let mut shares = begun(4);
    assert!(shares.release(&holder(1), false));
    let (changed, moved) = shares.give_out(&receivers(&[0, 2, 3]), terms());
    assert_eq!(changed, [holder(0), holder(2), holder(3)].into());
    assert_eq!(moved, [Moved::whole(1, 0)]);
    assert_eq!(threads(&shares, 1), [(0, 3), (1, 3), (2, 3)]);
    assert!(!shares.has_orphans());
    // the part of one that is lost later goes to one of the rest, whole
    shares.release(&holder(2), false);
    shares.give_out(&receivers(&[0, 3]), terms());
    assert_eq!(threads(&shares, 1), [(0, 3), (1, 3), (2, 3)]);
    assert_eq!(threads(&shares, 2), [(0, 2), (1, 2)]);
}

#[test]
fn a_share_goes_back_to_the_replacement_of_its_worker() {
    let mut shares = begun(2);
    shares.release(&holder(1), false);
    shares.give_out(&receivers(&[0]), terms());
    let at = Duration::from_secs(9);
    assert_eq!(shares.take_back(1, at), [holder(0)].into());
    let replacement = (1, "b".into());
    shares.begin(&replacement, at, None);
    let lists = [&holder(0), &replacement].map(|holder| shares.list(holder).parts);
    let of_share = |parts: &[fleet::Part]| parts.iter().find(|p| p.share == 1).copied();
    let (given, back) = (of_share(&lists[0]).unwrap(), of_share(&lists[1]).unwrap());
    assert_eq!(given.until_micros, Some(back.from_micros));
    assert!(shares.report(&holder(0), &state(&given, 0, true, true)));
    assert!(!shares.has_orphans(), "it was handed over");
    assert_eq!(shares.list(&holder(0)).parts.len(), 1);
}

#[test]
fn iterations_are_counted_by_share_whoever_began_them() {
    let mut shares = begun(2);
    shares.counting = Counting::First;
    let own = shares.list(&holder(1)).parts[0];
    assert!(shares.report(&holder(1), &state(&own, 40, false, false)));
    shares.release(&holder(1), false);
    shares.give_out(&receivers(&[0]), terms());
    let given = shares.list(&holder(0)).parts[1];
    assert_eq!((given.share, given.iterations_done), (1, 40));
    shares.report(&holder(0), &state(&given, 25, false, false));
    assert_eq!(shares.iterations(1), 65);
    assert_eq!(shares.iterations(0), 0);
}

#[test]
fn a_part_that_its_worker_stopped_is_given_to_others_and_one_that_ended_is_not() {
    let mut shares = begun(2);
    let parts = [0, 1].map(|index| shares.list(&holder(index)).parts[0]);
    shares.report(&holder(0), &state(&parts[0], 9, true, false));
    shares.report(&holder(1), &state(&parts[1], 9, true, true));
    assert!(shares.is_over(0) && !shares.is_over(1));
    assert!(shares.has_orphans());
}

#[test]
fn a_process_that_comes_back_after_its_share_was_given_away_carries_it_alone() {
    let mut shares = begun(3);
    let own = shares.list(&holder(1)).parts[0];
    shares.release(&holder(1), false);
    shares.give_out(&receivers(&[0, 2]), terms());
    assert!(!shares.report(&holder(1), &state(&own, 3, false, false)));
    let changed = shares.adopt(own.id, &holder(1)).unwrap();
    assert!(changed.contains(&holder(0)) && changed.contains(&holder(2)));
    assert_eq!(shares.list(&holder(1)).parts, [own]);
    assert!(!shares.is_carried_by_others(1, &holder(1)));
}

#[test]
fn a_share_that_went_back_after_the_last_checkpoint_is_carried_once() {
    let mut shares = begun(2);
    shares.release(&holder(1), false);
    shares.give_out(&receivers(&[0]), terms());
    let mut after = shares.clone();
    after.take_back(1, Duration::from_secs(9));
    let replacement = (1, "b".into());
    after.begin(&replacement, Duration::from_secs(9), None);
    // a master goes on with what it knew before
    let back = after.list(&replacement).parts[0];
    assert!(shares.report(&replacement, &state(&back, 0, false, false)));
    assert_eq!(shares.list(&holder(0)).parts.len(), 1);
    let given = after.list(&holder(0)).parts[1];
    assert!(shares.report(&holder(0), &state(&given, 0, true, true)));
    assert!(!shares.has_orphans());
}

fn pace() -> Pace {
    Pace {
        window: Duration::from_secs(2),
        lag: Duration::ZERO,
    }
}

/// Threads of the division that counts now, of each share.
fn covered(shares: &Shares) -> bool {
    let number = shares.division.number;
    (0..shares.division.workers).all(|share| {
        let parts = shares.current().filter(|part| part.share == share);
        let alive: Vec<&Part> = parts
            .filter(|part| part.state != State::Over && part.until.is_none())
            .collect();
        // one that is whole, or every part of one that is divided, and nothing twice
        let whole = alive.iter().filter(|part| part.step == 1).count();
        let firsts: BTreeSet<u32> = alive.iter().map(|part| part.first).collect();
        let step = alive.first().map_or(0, |part| part.step as usize);
        let is_whole = whole == 1 && alive.len() == 1;
        let is_divided = whole == 0 && firsts.len() == step && alive.len() == step;
        alive.iter().all(|part| part.division == number) && (is_whole || is_divided)
    })
}

proptest! {
    /// Whatever happens to workers and to their number, each share of the division that counts is
    /// carried once or waits for somebody, and nothing of an earlier one stays for ever.
    #[test]
    fn every_share_has_one_holder_however_often_the_load_is_divided(steps in prop::collection::vec((0u32..3, 1u32..6), 1..40)) {
        let mut shares = begun(2);
        shares.division.workers = 2;
        let mut from = 0;
        let mut lost = BTreeSet::new();
        for (step, count) in steps {
            from += 1;
            match step {
                0 => {
                    lost.clear();
                    shares.divide(count, Duration::from_secs(from), pace());
                    (0..count).for_each(|index| { shares.begin(&holder(index), Duration::from_secs(from), Some(pace())); });
                    shares.orphan_the_rest();
                }
                1 => {
                    let index = count % shares.division.workers;
                    lost.insert(index);
                    shares.release(&holder(index), false);
                    let there: Vec<u32> = (0..shares.division.workers).filter(|index| !lost.contains(index)).collect();
                    shares.give_out(&receivers(&there), terms());
                }
                _ => {
                    // one that is back takes its share again
                    let index = count % shares.division.workers;
                    if lost.remove(&index) {
                        shares.take_back(index, Duration::from_secs(from));
                        shares.begin(&holder(index), Duration::from_secs(from), None);
                    }
                }
            }
            prop_assert!(covered(&shares), "after {step} {count}: {shares:?}");
            let number = shares.division.number;
            prop_assert!(shares.parts.values().all(|part| part.division == number || part.until.is_some() || part.state == State::Over));
        }
    }
}

#[test]
fn a_share_that_nobody_has_begun_goes_to_those_who_are_there() {
    let mut shares = begun(3);
    shares.divide(2, Duration::from_secs(9), pace());
    shares.begin(&holder(0), Duration::from_secs(9), Some(pace()));
    shares.orphan_the_rest();
    assert!(shares.has_orphans());
    let (changed, moved) = shares.give_out(&receivers(&[0]), terms());
    assert_eq!((changed, moved.len()), ([holder(0)].into(), 1));
    assert!(covered(&shares));
}

#[test]
fn iterations_of_all_divisions_add_up() {
    let mut shares = begun(2);
    (shares.counting, shares.users) = (Counting::First, 10);
    shares.division.workers = 2;
    for (index, iterations) in [(0, 30), (1, 11)] {
        let own = shares.list(&holder(index)).parts[0];
        shares.report(&holder(index), &state(&own, iterations, false, false));
    }
    shares.pause(Duration::from_secs(3));
    assert!(shares.is_carried() && shares.is_pausing());
    for index in [0, 1] {
        let own = shares.list(&holder(index)).parts[0];
        shares.report(&holder(index), &state(&own, 0, true, true));
    }
    assert!(!shares.is_carried() && !shares.has_orphans());
    shares.divide(3, Duration::from_secs(4), pace());
    assert_eq!([0, 1, 2].map(|share| shares.done(share)), [14, 14, 13]);
    assert!(!shares.is_pausing());
}

#[test]
fn a_process_that_comes_back_with_a_share_of_an_earlier_division_does_not_carry_it() {
    let mut shares = begun(2);
    let own = shares.list(&holder(1)).parts[0];
    shares.release(&holder(1), false);
    shares.divide(1, Duration::from_secs(9), pace());
    shares.begin(&holder(0), Duration::from_secs(9), Some(pace()));
    assert!(!shares.report(&holder(1), &state(&own, 3, false, false)));
    assert_eq!(shares.adopt(own.id, &holder(1)), None);
    assert!(shares.list(&holder(1)).parts.is_empty());
    assert!(covered(&shares));
}

#[test]
fn a_master_that_knows_nothing_learns_it_from_the_workers() {
    let mut before = begun(3);
    before.release(&holder(1), false);
    before.give_out(&receivers(&[0, 2]), terms());
    let mut after = Shares::default();
    for index in [0, 2] {
        for part in before.list(&holder(index)).parts {
            assert!(after.report(&holder(index), &state(&part, 1, false, false)));
        }
    }
    assert_eq!(threads(&after, 1), [(0, 2), (1, 2)]);
    assert!(after.begin(&(1, "b".into()), Duration::ZERO, None) > before.next);
}
