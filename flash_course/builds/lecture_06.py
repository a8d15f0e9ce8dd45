"""What lecture 06 lets its reader build."""

BUILDS = ()
