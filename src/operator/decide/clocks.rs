//! Clocks of the operator's decisions that are not in the spec.

use std::time::Duration;

/// Time that a reference has to be missing, with all else up, before the run ends. Secrets are
/// often applied after the LoadTest.
pub const MISSING_REFERENCE: Duration = Duration::from_secs(20);

/// Time between two passes over a run that is about to start or to end.
pub const SOON: Duration = Duration::from_secs(1);

/// Time between two passes over a run of which nothing new is heard. What is new brings a pass by
/// itself: a change of an object or Pod, an answer of the master, the outcome of an order.
pub const LOOK: Duration = Duration::from_secs(15);

/// Longest time that the workers of an ended run are kept for a master that has not answered this
/// process yet.
pub const ACKNOWLEDGE: Duration = Duration::from_secs(30);
/// Time after which a pass looks again for the outcome of a check; shorter where the checks know
/// when it will be there.
pub const CHECKING: Duration = Duration::from_secs(5);

/// Time between two polls of progress.
pub const POLL: Duration = Duration::from_secs(5);

/// Time that a run stopped at its deadline has to deliver its result.
pub const AFTER_DEADLINE: Duration = Duration::from_secs(600);

/// Time that the master of a run to be stopped may not answer before the run is given up and its
/// workers are deleted.
pub const STOP_UNREACHABLE: Duration = Duration::from_secs(120);

/// Time between a refused create and the next pass.
pub const REFUSED: Duration = Duration::from_secs(5);

/// Longest time that the next run waits for the workers of an ended one; those on a lost node may
/// never go.
pub const OLD_WORKERS: Duration = Duration::from_secs(120);

/// Time after which a test that a policy does not allow is judged anew: policies and the labels of
/// namespaces change.
pub const REFUSED_BY_POLICY: Duration = Duration::from_secs(45);
