//! Starling on a real Kubernetes, as its users have it: installed by helm, driven by `kubectl`, its
//! image in every Pod.
//!
//! `tests/cluster/with.sh PROGRAM THIS` gives the two variables it needs:
//! `STARLING_TEST_KUBECONFIG` and `STARLING_TEST_IMAGE` (repository:tag), and `helm` and `kubectl`
//! in the PATH. Without them every test fails and says so. What was seen of a failed test (objects,
//! events, logs of all its Pods) is left in a file in `STARLING_TEST_LOGS`.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

#[path = "../shared/hostile.rs"]
mod corpus;
mod samples;
mod scaling;
mod stage;
#[path = "../shared/unhurried.rs"]
mod unhurried;

mod bad_input;
mod blind;
mod capacity;
mod deletion;
mod every_sample;
mod faults;
mod feeders;
mod hostile;
mod identity;
mod installation;
mod kill_points;
mod live_figures;
mod losses;
mod manual;
mod model_serving;
mod nodes;
mod once;
mod policy;
mod room;
mod secrets;
mod silent_masters;
mod soak;
mod targets;
mod trust;
mod upgrade;
mod verdict;
