"""The proof that nothing is lost or doubled: a checker that shares no code with the product, and what it judges."""
