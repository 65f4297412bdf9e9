//! The order services: one binary, a role per service.
