//! The command line.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand};

/// A key vault that you run yourself and that speaks the Azure Key Vault REST API.
#[derive(Parser)]
#[command(
    name = "valv",
    version,
    after_help = "Examples:\n  valv dev                                   try it: a ready vault on this machine\n  valv init --config valv.toml               make a region's store, once\n  valv serve --config valv.toml              run a node\n  valv vault create app                      (in another shell, beside `valv dev`)"
)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Start a ready pair of regions and a gateway on this machine: own CA, one client, one vault `dev`. Ctrl-C stops it.
    #[command(
        after_help = "Example:\n  valv dev\n  # in another shell, as it prints:\n  . .valv-dev/dev.env"
    )]
    Dev(DevArgs),
    /// Make a region's store, its first signing key and its first client. Prints the client's secret once.
    #[command(after_help = "Example:\n  valv key generate --out root.key\n  valv init --config valv.toml")]
    Init(ConfigArgs),
    /// Run one node.
    #[command(after_help = "Example:\n  valv serve --config valv.toml")]
    Serve(ServeArgs),
    /// Take a region of a running `valv dev` away and give it back; rebuild a region that lost its store.
    #[command(
        subcommand,
        after_help = "Examples:\n  valv region fail eastus\n  valv region heal eastus\n  valv region rebuild --from-pair --config valv.toml"
    )]
    Region(RegionCommand),
    /// Show regions, nodes and their health.
    #[command(after_help = "Examples:\n  valv status\n  valv status --json --config valv.toml")]
    Status(StatusArgs),
    /// Create, list, show, change, delete, recover and purge vaults.
    #[command(
        subcommand,
        after_help = "Examples:\n  valv vault create app --retention-days 30\n  valv vault list"
    )]
    Vault(VaultCommand),
    /// Register, list and remove clients (applications).
    #[command(subcommand, after_help = "Examples:\n  valv client add billing\n  valv client list")]
    Client(ClientCommand),
    /// Grant, revoke and list access: roles and access policies.
    #[command(
        subcommand,
        after_help = "Examples:\n  valv access grant billing --role \"Key Vault Secrets User\" --vault app\n  valv access list"
    )]
    Access(AccessCommand),
    /// Rehearse the loss of a region: a pair under load, its home region taken away and given back, all proved.
    #[command(
        after_help = "Examples:\n  valv rehearse\n  valv rehearse --fault freeze --seconds 60 --report rehearsal.html\n\nExit code 0 only if the promise held: no failed read, nothing acknowledged lost, every change refused while lost."
    )]
    Rehearse(RehearseArgs),
    /// Make the certificates with which nodes know each other.
    #[command(
        subcommand,
        after_help = "Examples:\n  valv cert ca --dir peers\n  valv cert region eastus --dir peers\n  valv cert gateway --dir peers"
    )]
    Cert(CertCommand),
    /// Make and rotate root keys, rotate data keys.
    #[command(
        subcommand,
        after_help = "Examples:\n  valv key generate --out root.key\n  valv key rotate --config valv.toml"
    )]
    Key(KeyCommand),
}

#[derive(ClapArgs)]
pub struct DevArgs {
    /// Where the deployment lives; made if absent, used again if there.
    #[arg(long, default_value = crate::dev::DEFAULT_DIR)]
    pub dir: PathBuf,
    /// The port on the loopback addresses; 0 takes a free one.
    #[arg(long, default_value_t = 8443)]
    pub port: u16,
    /// One region without a pair and without a gateway, in one process. Nothing is replicated.
    #[arg(long)]
    pub one_region: bool,
    /// Each region on a host of its own (a network namespace), so that `valv region cut` can make packets vanish. Needs
    /// root, ip and nft (Debian: iproute2, nftables). `valv rehearse --fault partition` uses it. The managed-identity
    /// endpoint is then inside the home region's host.
    #[arg(long, hide = true, conflicts_with = "one_region")]
    pub separate_hosts: bool,
}

#[derive(Subcommand)]
pub enum RegionCommand {
    /// Kill a region's processes (SIGKILL), as if the region were lost.
    #[command(after_help = "Example:\n  valv region fail eastus")]
    Fail {
        /// The region.
        name: String,
        /// The folder of the running `valv dev`.
        #[arg(long, default_value = crate::dev::DEFAULT_DIR)]
        dir: PathBuf,
    },
    /// Start a region's processes again, let all its packets pass, and wait until it serves.
    #[command(after_help = "Example:\n  valv region heal eastus")]
    Heal {
        /// The region.
        name: String,
        /// The folder of the running `valv dev`.
        #[arg(long, default_value = crate::dev::DEFAULT_DIR)]
        dir: PathBuf,
    },
    /// Make a region's packets vanish, of a `valv dev --separate-hosts`: nothing is reset. `heal` ends it.
    #[command(
        hide = true,
        after_help = "Examples:\n  valv region cut eastus\n  valv region cut eastus --from westus --one-way in\n  valv region cut westus --from eastus --loss 20"
    )]
    Cut {
        /// The region.
        name: String,
        /// Only packets from and to this region, or the gateway.
        #[arg(long, value_name = "OTHER")]
        from: Option<String>,
        /// Only this direction: `in`, the region does not hear; `out`, it is not heard.
        #[arg(long, value_enum)]
        one_way: Option<crate::dev::hosts::Way>,
        /// Only so many of a hundred packets, at random.
        #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..100))]
        loss: Option<u8>,
        /// The folder of the running `valv dev`.
        #[arg(long, default_value = crate::dev::DEFAULT_DIR)]
        dir: PathBuf,
    },
    /// Make the store of a region anew from its pair's copy, after the old one was lost. The region's node must not run.
    #[command(
        after_help = "Example:\n  mv eastus.redb eastus.redb.old\n  valv region rebuild --from-pair --config valv.toml\n  valv serve --config valv.toml\n\nWhat had not reached the pair when the store was lost is not in the copy. If the old store exists and is whole, prefer it."
    )]
    Rebuild {
        /// The pair's copy is the source; there is no other yet.
        #[arg(long, required = true)]
        from_pair: bool,
        /// The configuration of a node of the region.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}

#[derive(ClapArgs)]
pub struct RehearseArgs {
    /// What is done to the home region.
    #[arg(long, value_enum, default_value = "kill")]
    pub fault: crate::rehearse::Fault,
    /// How long the load runs: a third healthy, a third lost, a third (at least 12 s) after the return.
    #[arg(long, default_value_t = 36)]
    pub seconds: u64,
    /// Requests a second, every fifth of them a write.
    #[arg(long, default_value_t = 100)]
    pub rate: u32,
    /// Write one self-contained HTML page: the timeline as a picture, the figures, every operation.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Write the figures as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Keep the pair's files and logs also when the promise held.
    #[arg(long)]
    pub keep: bool,
}

#[derive(ClapArgs)]
pub struct ConfigArgs {
    /// The configuration file. Every setting can be overridden by an environment variable, such as
    /// `VALV_STORE__PATH` for `path` in `[store]`.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

#[derive(ClapArgs)]
pub struct ServeArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Stop when standard input ends; for supervisors that start the node with a pipe.
    #[arg(long)]
    pub stop_with_stdin: bool,
    /// Check the configuration, the root key, the certificate and the store, and stop.
    #[arg(long)]
    pub check: bool,
}

/// Which deployment a command speaks to.
#[derive(ClapArgs, Clone)]
pub struct Target {
    /// A `valv dev` deployment's folder.
    #[arg(long, default_value = crate::dev::DEFAULT_DIR, global = true)]
    pub dir: PathBuf,
    /// A node's configuration file instead; credentials come from AZURE_CLIENT_ID and AZURE_CLIENT_SECRET,
    /// trusted roots from SSL_CERT_FILE or the system.
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Print JSON.
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(ClapArgs)]
pub struct StatusArgs {
    #[command(flatten)]
    pub target: Target,
}

#[derive(Subcommand)]
pub enum CertCommand {
    /// Make the authority of all peer certificates, once for a deployment.
    #[command(after_help = "Example:\n  valv cert ca --dir peers")]
    Ca {
        /// The folder of the files peer-ca.crt and peer-ca.key.
        #[arg(long, default_value = ".")]
        dir: PathBuf,
    },
    /// Make the certificate of a region's nodes.
    #[command(after_help = "Example:\n  valv cert region eastus --dir peers")]
    Region {
        /// The region, as in `region` of its nodes' configuration.
        name: String,
        #[command(flatten)]
        place: CertPlace,
    },
    /// Make the certificate of gateways: they may forward and probe, and read nothing.
    #[command(after_help = "Example:\n  valv cert gateway --dir peers")]
    Gateway {
        #[command(flatten)]
        place: CertPlace,
    },
}

#[derive(ClapArgs)]
pub struct CertPlace {
    /// The folder where `valv cert ca` made the authority; the certificate is made there too.
    #[arg(long, default_value = ".")]
    pub dir: PathBuf,
    /// How long it is valid.
    #[arg(long, default_value_t = 397, value_parser = clap::value_parser!(u16).range(1..))]
    pub days: u16,
    /// Replace an existing certificate and its key.
    #[arg(long)]
    pub renew: bool,
}

#[derive(Subcommand)]
pub enum VaultCommand {
    /// Create a vault, or change its properties.
    #[command(after_help = "Example:\n  valv vault create app --retention-days 30")]
    Create {
        /// 3 to 24 letters, digits, hyphens.
        name: String,
        /// How long deleted objects can be recovered, 7 to 90 days; fixed at creation (default 90).
        #[arg(long)]
        retention_days: Option<u8>,
        /// Nobody can purge before the retention time; cannot be switched off again.
        #[arg(long)]
        purge_protection: bool,
        /// Use access policies instead of roles.
        #[arg(long)]
        access_policies: bool,
        #[command(flatten)]
        target: Target,
    },
    /// List live vaults.
    #[command(after_help = "Example:\n  valv vault list --deleted")]
    List {
        /// List soft-deleted vaults instead.
        #[arg(long)]
        deleted: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Show a vault.
    #[command(after_help = "Example:\n  valv vault show app")]
    Show {
        /// The vault.
        name: String,
        #[command(flatten)]
        target: Target,
    },
    /// Soft-delete a vault. It can be recovered until it is purged.
    #[command(after_help = "Example:\n  valv vault delete app")]
    Delete {
        /// The vault.
        name: String,
        #[command(flatten)]
        target: Target,
    },
    /// Take a soft-deleted vault back.
    #[command(after_help = "Example:\n  valv vault recover app")]
    Recover {
        /// The vault.
        name: String,
        #[command(flatten)]
        target: Target,
    },
    /// Destroy a soft-deleted vault and everything in it, for good.
    #[command(after_help = "Example:\n  valv vault purge app")]
    Purge {
        /// The vault.
        name: String,
        #[command(flatten)]
        target: Target,
    },
}

#[derive(Subcommand)]
pub enum ClientCommand {
    /// Register a client and print its id and secret, once.
    #[command(after_help = "Example:\n  valv client add billing")]
    Add {
        /// A name for people.
        name: String,
        /// Add a secret to this registered client instead of making a new one.
        #[arg(long, value_name = "CLIENT_ID")]
        to: Option<String>,
        /// The secret stops working after so many days (default: never).
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..))]
        expires_in_days: Option<u32>,
        #[command(flatten)]
        target: Target,
    },
    /// List clients.
    #[command(after_help = "Example:\n  valv client list")]
    List {
        #[command(flatten)]
        target: Target,
    },
    /// Remove a client. Its tokens stop working at once.
    #[command(after_help = "Example:\n  valv client remove 0f3a2c1e-5b7d-4e9f-8a6b-1c2d3e4f5a6b")]
    Remove {
        /// The client's id, or its name where only one client has it.
        client: String,
        #[command(flatten)]
        target: Target,
    },
}

#[derive(Subcommand)]
pub enum AccessCommand {
    /// Give a client, user or group a role, or an access policy on a vault that uses them.
    #[command(
        after_help = "Examples:\n  valv access grant billing --role \"Key Vault Secrets User\" --vault app\n  valv access grant billing --role \"Key Vault Secrets User\" --vault app --object secrets/db-password\n  valv access grant signer --role \"Key Vault Crypto User\" --vault app --object keys/release\n  valv access grant billing --vault old --secrets get,list --keys get,sign,verify"
    )]
    Grant {
        /// A client's name or id, or a principal's object id.
        who: String,
        /// A role's name or id.
        #[arg(long, conflicts_with_all = ["secrets", "keys"])]
        role: Option<String>,
        /// Only this vault (default for roles: the whole deployment).
        #[arg(long)]
        vault: Option<String>,
        /// Only this object of the vault, such as `secrets/db-password` or `keys/release`.
        #[arg(long, requires = "vault", requires = "role")]
        object: Option<String>,
        /// Access-policy words for secrets, such as `get,list`, for a vault with access policies.
        #[arg(long, value_delimiter = ',', requires = "vault")]
        secrets: Vec<String>,
        /// The same for keys, such as `get,sign,verify`. Words for secrets and keys are granted together: what is
        /// not named here is taken away.
        #[arg(long, value_delimiter = ',', requires = "vault")]
        keys: Vec<String>,
        #[command(flatten)]
        target: Target,
    },
    /// Take access away.
    #[command(
        after_help = "Examples:\n  valv access revoke 5d9a6c0e-8b1f-4a57-9f4b-2d7c3f1e0a9b     (a role assignment's id)\n  valv access revoke billing --vault old                     (an access policy)"
    )]
    Revoke {
        /// A role assignment's id; with --vault a client's name or id or a principal's object id.
        who: String,
        /// Remove the access policy on this vault.
        #[arg(long)]
        vault: Option<String>,
        #[command(flatten)]
        target: Target,
    },
    /// List role assignments and access policies.
    #[command(after_help = "Example:\n  valv access list")]
    List {
        #[command(flatten)]
        target: Target,
    },
}

#[derive(Subcommand)]
pub enum KeyCommand {
    /// Make a root key: 256 random bits. Keep a copy in a safe place; without it nothing can be opened.
    #[command(after_help = "Example:\n  valv key generate --out /etc/valv/root.key")]
    Generate {
        /// The file to write (mode 0600); refused if it exists. Without it the key goes to standard output.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Wrap all data keys under the first root key of the configuration, while serving.
    #[command(
        after_help = "Example:\n  1. valv key generate --out new.key, and put it first in root_key.sources of valv.toml (the old one second)\n  2. valv key rotate --config valv.toml\n  3. take the old key out of valv.toml"
    )]
    Rotate {
        /// Give this vault a new data key instead.
        #[arg(long, value_name = "VAULT")]
        data_key: Option<String>,
        #[command(flatten)]
        target: Target,
    },
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use clap::CommandFactory;

    use super::*;

    const PAGES: [&str; 17] = [
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "docs/admin-api.md",
        "docs/compatibility.md",
        "docs/deploy.md",
        "docs/failover.md",
        "docs/faults.md",
        "docs/identity.md",
        "docs/operations.md",
        "docs/performance.md",
        "crates/valv/valv.example.toml",
        "deploy/README.md",
        "deploy/systemd/valv.service",
        "deploy/systemd/valv-gateway.service",
    ];

    #[test]
    fn every_command_that_a_document_shows_is_accepted() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut shown = 0;
        for page in PAGES {
            let text = fs::read_to_string(root.join(page)).unwrap();
            for command in lines(&text).chain(spans(&text)) {
                accepted(page, command);
                shown += 1;
            }
        }
        assert!(shown >= 20, "only {shown} commands were found");
    }

    #[test]
    fn every_example_in_a_help_text_is_accepted() {
        let mut commands = vec![Args::command()];
        let mut shown = 0;
        while let Some(command) = commands.pop() {
            commands.extend(command.get_subcommands().cloned());
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            for example in lines(&help) {
                accepted(command.get_name(), example);
                shown += 1;
            }
        }
        assert!(shown >= 20, "only {shown} examples were found");
    }

    /// Lines that are a command, as in a shell block. What follows `#` or many spaces is about it.
    fn lines(text: &str) -> impl Iterator<Item = &str> {
        text.lines().map(str::trim).filter_map(command).map(|line| {
            let line = line.split_once(" #").map_or(line, |(before, _)| before);
            line.split_once("   ").map_or(line, |(before, _)| before)
        })
    }

    /// Commands in a sentence: code that begins with the program's name and holds more than its subcommand.
    /// A list of subcommands is not a command.
    fn spans(text: &str) -> impl Iterator<Item = &str> {
        let whole = |span: &&str| span.split(' ').any(|word| word.starts_with("--")) && !span.contains('\n');
        text.split('`').skip(1).step_by(2).filter(whole).filter_map(command)
    }

    /// What is behind the program's name, however it is started.
    fn command(line: &str) -> Option<&str> {
        let line = line.strip_prefix("runuser -u valv -- ").unwrap_or(line);
        line.strip_prefix("valv ").or_else(|| line.strip_prefix("cargo run --release -- "))
    }

    fn accepted(place: &str, command: &str) {
        let parsed = Args::try_parse_from(std::iter::once("valv".to_owned()).chain(words(command)));
        if let Err(error) = parsed
            && error.kind() != clap::error::ErrorKind::DisplayHelp
        {
            panic!("{place} shows `valv {command}`, which is refused: {error}");
        }
    }

    /// Words as a shell splits them; of quotes only the double ones.
    fn words(command: &str) -> Vec<String> {
        let mut words = vec![String::new()];
        for (at, part) in command.split('"').enumerate() {
            let mut pieces = if at % 2 == 1 { vec![part] } else { part.split(' ').collect() }.into_iter();
            if let (Some(first), Some(last)) = (pieces.next(), words.last_mut()) {
                last.push_str(first);
            }
            words.extend(pieces.map(str::to_owned));
        }
        words.retain(|word| !word.is_empty());
        words
    }
}
