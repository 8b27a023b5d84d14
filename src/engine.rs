//! Carries out a share of a plan: shards, pacer, executor and the HTTP client.
