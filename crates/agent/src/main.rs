//! koala-agent.
fn main() {}
