//! The protocol between master and worker, and the view the operator has of a run.
