"""Structured distillation for dense prediction: pixel by pixel, pair by pair of places, and the score map as a whole."""

from kdarena_structured.method import PixelPairWise, PixelWise, Structured

variants = (PixelWise, PixelPairWise, Structured)
