//! `valv serve`: one node.

use crate::args::ServeArgs;
use crate::config;
use crate::node::Node;
use crate::output::{Problem, Result, line};

/// Runs the node until it is told to stop.
pub fn run(args: &ServeArgs) -> Result<()> {
    let config = config::load(&args.config.config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Problem::new(format!("the runtime does not start: {e}")))?;
    let outcome = runtime.block_on(async {
        let node = Node::prepare(config).await?;
        if args.check {
            line("The configuration, the root key, the certificate and the store are in order.");
            return Ok(());
        }
        node.run(args.stop_with_stdin).await
    });
    // A blocking read of standard input may still wait; it must not keep the process.
    runtime.shutdown_background();
    outcome
}
