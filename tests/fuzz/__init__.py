"""Coverage-guided and property-based attacks on everything that reads what people, programs and other users wrote."""
