"""The cases: each an async function of a harness, named by what it shows."""
