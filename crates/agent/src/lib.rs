//! koala-agent.
