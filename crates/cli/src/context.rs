//! What a verb works with: the screen, the wishes that all verbs share, and a client when it needs one.

use orchd_client::{Client, Settings, default_socket};

use crate::screen::Screen;
use crate::{Failure, GlobalOptions};

pub(crate) struct Context {
    pub(crate) screen: Screen,
    pub(crate) json: bool,
    pub(crate) quiet: bool,
    pub(crate) global: GlobalOptions,
}

impl Context {
    pub(crate) fn new(global: GlobalOptions) -> Self {
        Self { screen: Screen::new(global.color), json: global.json, quiet: global.quiet, global }
    }

    /// Connects to the daemon; verbs that need none do not call this.
    pub(crate) async fn client(&self) -> Result<Client, Failure> {
        let named = self.global.socket.clone().filter(|path| !path.as_os_str().is_empty());
        let socket = named.unwrap_or_else(default_socket);
        let settings =
            Settings { connect_timeout: self.global.connect_timeout.into(), ..Settings::default() };
        Ok(Client::connect_with(socket, settings).await?)
    }
}
