//! The master: roster, merge, verdict, and what it serves to the operator, to people and to Prometheus.
