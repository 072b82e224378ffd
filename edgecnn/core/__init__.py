"""Core types that every room shares; they import no torch."""
