//! Wire formats, one protocol per file.
