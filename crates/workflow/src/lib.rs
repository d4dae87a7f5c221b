//! Workflow files: the text of a YAML, JSON or TOML file becomes a validated [`WorkflowSpec`], or the list of
//! everything that is wrong with it, each mistake with its place in the file.
//!
//! [`load`] reads and checks, [`Plan`] shows the graph (stages, critical path, drawings), and the template
//! functions ([`render`], [`evaluate`]) are what the daemon calls when a task of a workflow starts: the
//! templates stay text in the spec until the results that they name exist.
//!
//! This crate does NOT contain IO (a caller reads the file), a clock, or scheduling.
//!
//! ```
//! # use std::collections::BTreeMap;
//! let text = "
//! name: greet
//! parameters: { who: world }
//! tasks:
//!   - { name: make, shell: 'echo {{ parameters.who }}' }
//!   - { name: show, command: [echo, done], dependencies: [make] }
//! ";
//! let spec = orchd_workflow::load("greet.yaml", text, &BTreeMap::new()).expect("a valid file");
//! assert_eq!(orchd_workflow::Plan::of(&spec).execution_order, [["make"], ["show"]]);
//! ```
//!
//! [`WorkflowSpec`]: orchd_model::WorkflowSpec

mod calls;
mod code;
mod configured;
mod cost;
mod document;
mod drawing;
mod each;
mod elements;
mod error;
mod expression;
mod field;
mod file;
mod format;
mod graph;
mod handlers;
mod hooks;
mod items;
mod jinja;
mod json;
mod key;
mod layers;
mod layout;
mod names;
mod node;
mod outline;
mod parameters;
mod picture;
mod plan;
mod reference;
mod schema;
mod scope;
mod skim;
mod submitted;
mod subworkflow;
mod task;
mod template;
mod toml;
mod width;
mod yaml;

pub use configured::{Configured, Loaded, Wanted, configured, is_layout, load_all};
pub use cost::{expression_may_cost, may_cost};
pub use document::{Document, read_document};
pub use elements::known_elements;
pub use error::FileError;
pub use expression::{check_value_expression, is_about_an_element, value_of};
pub use file::{inspect, load};
pub use format::Format;
pub use layout::{Layout, OTHER_SECTIONS};
pub use parameters::checks_parameters;
pub use picture::{Picture, PictureTask, STYLE, escaped};
pub use plan::{CriticalPath, Duration, DurationSource, Edge, Estimate, Plan, Unsatisfiable};
pub use schema::schema;
pub use submitted::Submitted;
pub use template::{check_expression, evaluate, overlay, render, uses_templates};
