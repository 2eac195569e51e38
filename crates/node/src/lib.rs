//! koala-node.
