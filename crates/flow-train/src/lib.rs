//! Training normalizing flows by exact likelihood: optimizer, schedule, run folders, evaluation
