//! The worker session (stub).
