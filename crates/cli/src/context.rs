//! What a verb works with: the screen, the wishes that all verbs share, and a client when it needs one.

use orchd_client::{Client, Settings, default_socket};
use orchd_model::Span;
use std::io::{self, Write};
use std::path::PathBuf;

use crate::command_line::PROGRAM;
use crate::screen::Screen;
use crate::{Failure, GlobalOptions};

pub(crate) struct Context {
    pub(crate) screen: Screen,
    pub(crate) json: bool,
    pub(crate) quiet: bool,
    pub(crate) global: GlobalOptions,
}

/// Says when the daemon goes while somebody waits for it, and that it is not given up yet.
fn told(client: Client, settings: Settings) -> Client {
    let patience = Span::from(settings.reconnect_for);
    client.on_outage(move || {
        // When standard error is closed there is nobody to tell.
        writeln!(
            io::stderr(),
            "{PROGRAM}: connection to the daemon lost: trying to get it back for {patience}"
        )
        .ok();
    });
    client
}

impl Context {
    pub(crate) fn new(global: GlobalOptions) -> Self {
        Self { screen: Screen::new(global.color), json: global.json, quiet: global.quiet, global }
    }

    /// Connects to the daemon; verbs that need none do not call this.
    pub(crate) async fn client(&self) -> Result<Client, Failure> {
        let (socket, settings) = self.daemon();
        Ok(told(Client::connect_with(socket, settings).await?, settings))
    }

    /// A client for a verb that has one request and is used a thousand times in a loop.
    pub(crate) fn client_for_one(&self) -> Client {
        let (socket, settings) = self.daemon();
        told(Client::lazy(socket, settings), settings)
    }

    /// Where the daemon is, and how long it is waited for.
    fn daemon(&self) -> (PathBuf, Settings) {
        let named = self.global.socket.clone().filter(|path| !path.as_os_str().is_empty());
        let socket = named.unwrap_or_else(default_socket);
        let settings =
            Settings { connect_timeout: self.global.connect_timeout.into(), ..Settings::default() };
        (socket, settings)
    }
}
