//! The worker: accepts a share, runs the engine, hands over snapshots, drains.
