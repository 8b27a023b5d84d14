//! Regions and hosts of workers in the status: sums of what each worker measured.

use std::collections::BTreeMap;

use crate::crd::status::PlaceStatus;
use crate::operator::text::cut;
use crate::wire::result::WorkerResult;

/// Most regions or hosts in the status.
const PLACES: usize = 8;
/// Most bytes of a name.
const NAME: usize = 63;

/// Sums up the workers of each region or host, those with the most requests first.
pub(super) fn places(fleet: &[WorkerResult]) -> Vec<PlaceStatus> {
    let mut sums: BTreeMap<&str, PlaceStatus> = BTreeMap::new();
    for worker in fleet.iter().filter(|worker| !worker.place.is_empty()) {
        let sum = sums.entry(&worker.place).or_default();
        sum.workers += 1;
        sum.requests = sum.requests.saturating_add(worker.requests);
        sum.failures = sum.failures.saturating_add(worker.failures);
    }
    let mut places: Vec<PlaceStatus> = sums
        .into_iter()
        .map(|(name, sum)| PlaceStatus {
            name: cut(name, NAME),
            ..sum
        })
        .collect();
    places.sort_by_key(|place| std::cmp::Reverse(place.requests));
    places.truncate(PLACES);
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_of_a_region_are_summed_and_the_busiest_come_first() {
        let worker = |worker, place: &str, requests| WorkerResult {
            worker,
            place: place.to_owned(),
            requests,
            failures: 1,
            p95: 1,
        };
        let mut fleet = vec![
            worker(0, "eu", 10),
            worker(1, "us", 30),
            worker(2, "eu", 15),
        ];
        fleet.extend((3..20).map(|n| worker(n, &format!("host-{n}"), 1)));
        fleet.push(worker(20, "", 1_000));
        let places = places(&fleet);
        let seen = places.iter().map(|place| {
            (
                place.name.as_str(),
                place.workers,
                place.requests,
                place.failures,
            )
        });
        assert_eq!(
            seen.take(2).collect::<Vec<_>>(),
            [("us", 1, 30, 1), ("eu", 2, 25, 2)]
        );
        assert_eq!(places.len(), PLACES);
    }
}
