"""What lecture 04 lets its reader build."""

BUILDS = ()
