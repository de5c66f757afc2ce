//! Stories through public doors only.
