"""Distillation: a student network learns from what a teacher answers."""
