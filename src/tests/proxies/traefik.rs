//! What Traefik sends, replayed byte for byte as its source writes it; Traefik itself is not run.
