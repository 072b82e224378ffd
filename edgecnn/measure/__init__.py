"""Measurements on a device: latency, memory, power, layer times, and what they are worth."""
