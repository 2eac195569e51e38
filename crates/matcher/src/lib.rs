//! Which recorded call a request corresponds to.
