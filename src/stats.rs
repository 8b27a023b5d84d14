//! Record, merge and summarise samples.
