//! Choice among the answers of several Pods that all claim to be the master of a run.

use std::net::SocketAddr;

use crate::wire::control::Progress;

/// Most Pods that are tried. Beyond it the newest and the oldest ones are: a true master is
/// either the first or the last that was made.
const MOST: usize = 16;

/// Returns the addresses to try out of `addresses`, which are ordered by the age of their Pods.
pub fn candidates(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    if addresses.len() <= MOST {
        return addresses.to_vec();
    }
    let (newest, oldest) = (
        &addresses[..MOST / 2],
        &addresses[addresses.len() - MOST / 2..],
    );
    [newest, oldest].concat()
}

/// Returns whether no other Pod needs to be asked: this one holds the grant.
pub fn is_trusted(progress: &Progress, trusted: Option<&str>) -> bool {
    trusted == Some(progress.incarnation.as_str())
}

/// Returns the answer to go by: that of the master that holds the grant, else that of the Pod that
/// comes first in `addresses`. All of them have proved the run's authority.
pub fn best<'a>(
    answers: &'a [(SocketAddr, Progress)],
    addresses: &[SocketAddr],
    trusted: Option<&str>,
) -> Option<&'a (SocketAddr, Progress)> {
    let rank = |address: &SocketAddr| addresses.iter().position(|known| known == address);
    answers
        .iter()
        .find(|(_, progress)| is_trusted(progress, trusted))
        .or_else(|| answers.iter().min_by_key(|(address, _)| rank(address)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::fixture;
    use crate::wire::control::MasterState;

    fn address(last: u8) -> SocketAddr {
        ([10, 0, 0, last], 8443).into()
    }

    fn answer(last: u8, incarnation: &str) -> (SocketAddr, Progress) {
        let progress = Progress {
            incarnation: incarnation.into(),
            ..fixture::progress("run", MasterState::Running)
        };
        (address(last), progress)
    }

    #[test]
    fn the_master_that_holds_the_grant_goes_before_a_newer_one() {
        let (addresses, answers) = (
            [address(1), address(2)],
            [answer(1, "new"), answer(2, "old")],
        );
        let of = |trusted| best(&answers, &addresses, trusted).unwrap().0;
        assert_eq!(of(Some("old")), address(2));
        assert_eq!(of(Some("neither")), address(1));
        assert_eq!(of(None), address(1));
        assert_eq!(best(&[], &addresses, None), None);
    }

    #[test]
    fn among_many_strangers_the_first_and_the_last_pods_are_tried() {
        let all: Vec<SocketAddr> = (0..100).map(address).collect();
        let tried = candidates(&all);
        assert_eq!(tried.len(), MOST);
        assert!(tried.contains(&address(0)) && tried.contains(&address(99)));
        assert_eq!(candidates(&all[..3]), all[..3]);
    }
}
