//! Tests of the planner against tables and against a world of values.

mod property;
mod sketch;
mod tables;
mod world;
