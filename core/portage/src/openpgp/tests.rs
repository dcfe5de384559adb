//! Tests against the installed GnuPG.
