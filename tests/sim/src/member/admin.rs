//! The administration API on port 9445: who may call, which call it is, and the calls about tasks
//! and the group. Grids, templates and the tasks themselves have files of their own.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::database::ADMINISTRATOR;
use super::exchange::Request;
use super::peer::Phase;
use super::route::{self, Call, Names, NoRoute};
use super::store::{EntryKey, Payload};
use super::tasks::{Running, Task, TaskStatus};
use super::wire::{Answer, Content};
use super::{ADMIN_PORT, DATA_PORT, Member, State};
use crate::faults::FaultKind;
use crate::profile::wire::{Shape, Wire};

/// A task as it was asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct TaskRequest {
    pub(super) command: String,
    pub(super) description: String,
    parameters: Map<String, Value>,
}

impl TaskRequest {
    fn parse(body: &[u8]) -> Result<Self, Answer> {
        let invalid = |text: &str| Answer::error(400, text);
        let body: Map<String, Value> = serde_json::from_slice(body)
            .map_err(|error| Answer::error(400, format!("the body is not JSON: {error}")))?;
        let command = body.get("command").and_then(Value::as_str).map(str::to_owned);
        let description = body.get("description").and_then(Value::as_str).unwrap_or_default();
        let parameters = body.get("parameters").and_then(Value::as_object).cloned();
        Ok(Self {
            command: command.ok_or_else(|| invalid("the command is missing"))?,
            description: description.to_owned(),
            parameters: parameters.ok_or_else(|| invalid("the parameters are missing"))?,
        })
    }

    /// A parameter that must be there. Every value is a JSON string.
    pub(super) fn parameter(&self, name: &str) -> Result<&str, Answer> {
        match self.parameters.get(name) {
            Some(Value::String(value)) if !value.is_empty() => Ok(value),
            Some(Value::String(_)) | None => {
                Err(Answer::error(400, format!("the parameter {name} is missing")))
            }
            Some(_) => Err(Answer::error(400, format!("the parameter {name} is not a string"))),
        }
    }

    /// A parameter that is `"true"` or `"false"`.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Answer> {
        let value = self.parameter(name)?;
        value.parse().map_err(|_| {
            Answer::error(400, format!("the parameter {name} is neither \"true\" nor \"false\""))
        })
    }
}

impl Member {
    /// Carries out one request from outside.
    pub(super) async fn answer(self: &Arc<Self>, request: &Request) -> Answer {
        if self.read(|state| state.phase == Phase::Starting) {
            return Answer::error(503, "starting");
        }
        let profile = self.behaviour().profile;
        let routes = match request.port {
            ADMIN_PORT => route::admin_routes(&profile),
            DATA_PORT => route::data_routes(&profile),
            _ => return self.answer_console(request),
        };
        if !self.is_authorized(request.authorization.as_deref()) {
            return Answer::error(401, "CWWKS1100A: Authentication did not succeed.");
        }
        match route::find(&routes, &request.method, &request.path) {
            Ok((Call::ShowApi, _)) => Answer::json(200, self.describe_api(request.port)),
            Ok((call, names)) if request.port == DATA_PORT => {
                self.answer_data_call(call, &names, request).await
            }
            Ok((call, names)) => {
                let answer = self.answer_admin_call(call, &names, request).await;
                outward(&profile.wire, call, answer)
            }
            Err(NoRoute::Path) => {
                Answer::error(404, format!("SRVE0190E: File not found: {}", request.path))
            }
            Err(NoRoute::Method) => Answer::error(405, "the method is not allowed"),
        }
    }

    /// A page that a browser and a probe can fetch without a password.
    fn answer_console(&self, request: &Request) -> Answer {
        let path = request.path.trim_end_matches('/');
        if path.is_empty() || path == "/wxsui" {
            let text = format!("WebSphere eXtreme Scale: {}", self.environment.member);
            return Answer::html(200, &text);
        }
        Answer::html(404, "Not found")
    }

    fn is_authorized(&self, authorization: Option<&str>) -> bool {
        let encoded = authorization.and_then(|value| value.strip_prefix("Basic "));
        let decoded = encoded.and_then(|encoded| STANDARD.decode(encoded.trim()).ok());
        let Some(text) = decoded.and_then(|bytes| String::from_utf8(bytes).ok()) else {
            return false;
        };
        let Some((user, password)) = text.split_once(':') else { return false };
        self.read(|state| {
            let known = state.view.database.users.get(user);
            known.is_some_and(|known| known == password)
        })
    }

    async fn answer_data_call(
        self: &Arc<Self>,
        call: Call,
        names: &Names,
        request: &Request,
    ) -> Answer {
        let name = |name: &str| names.get(name).cloned().unwrap_or_default();
        let (grid, map) = (name("grid"), name("map"));
        let key = EntryKey { map: map.clone(), key: name("key") };
        let query = |name| route::parameter(&request.query, name);
        match call {
            Call::PutEntry => {
                let content_type = request.content_type.clone();
                let content_type =
                    content_type.unwrap_or_else(|| "application/octet-stream".to_owned());
                let payload = Payload { content_type, bytes: request.body.to_vec() };
                self.put_entry(&grid, key, query("ttl").as_deref(), payload).await
            }
            Call::GetEntry => self.get_entry(&grid, key).await,
            Call::DeleteEntry => self.delete_entry(&grid, key).await,
            Call::ClearMap => self.clear_map(&grid, &map).await,
            _ => self.query_keys(&grid, &map, query("query").as_deref()).await,
        }
    }

    async fn answer_admin_call(
        self: &Arc<Self>,
        call: Call,
        names: &Names,
        request: &Request,
    ) -> Answer {
        let name = names.get("name").map_or("", String::as_str);
        let number = names.get("id").and_then(|id| id.parse().ok());
        match call {
            Call::ListTasks => self.list_tasks(request),
            Call::StartTask => self.start_any_task(&request.body).await,
            Call::TaskStatus => self.task_status(number),
            Call::CancelTask => self.cancel_task(number),
            _ if self.read(|state| state.offline) => {
                Answer::error(500, "Failed to get the configuration of the cache member group")
            }
            Call::ShowGroup => self.show_group(request),
            Call::ListGrids => self.list_grids(),
            Call::ShowGrid => self.show_grid(name),
            Call::CreateGrid => self.start_grid_create(name, &request.body).await,
            Call::UpdateGrid => self.start_grid_update(name, &request.body).await,
            Call::DeleteGrid => self.start_grid_delete(name).await,
            Call::ListTemplates => self.list_templates(),
            Call::ShowTemplate => self.show_template(name),
            Call::PutTemplate => self.put_template(name, &request.body).await,
            Call::DeleteTemplate => self.delete_template(name).await,
            _ => self.show_permissions(name),
        }
    }

    async fn start_any_task(self: &Arc<Self>, body: &[u8]) -> Answer {
        let request = match TaskRequest::parse(body) {
            Ok(request) => request,
            Err(answer) => return answer,
        };
        let commands = self.behaviour().profile.commands;
        let command = &request.command;
        if *command == commands.join {
            self.start_join(&request).await
        } else if *command == commands.promote {
            // The one command that needs no primary: it makes another one.
            self.start_promotion(&request).await
        } else if self.read(|state| state.stale && !state.is_primary()) {
            Answer::error(503, super::peer::Refusal::NoPrimary)
        } else if *command == commands.disjoin {
            self.start_disjoin(&request).await
        } else if *command == commands.restart {
            self.start_restart(&request).await
        } else if *command == commands.replicate {
            self.start_replication(&request).await
        } else {
            Answer::error(400, format!("the command {command} is unknown"))
        }
    }

    /// The answer to a task that was started, and what came of the call: `effect`, unless the task
    /// will have none.
    pub(super) fn task_started(&self, running: &Running, effect: &'static str) -> Answer {
        let effect = if running.is_lost() { "task_lost" } else { effect };
        self.task_named(running.id).with_effect(effect)
    }

    fn task_named(&self, id: u64) -> Answer {
        Answer::json(200, json!({ self.behaviour().profile.task_id_key: id }))
    }

    fn list_tasks(&self, request: &Request) -> Answer {
        let hidden = self.fault(request.occasion(), |kind| *kind == FaultKind::HideDescriptions);
        let told = self.behaviour().task_descriptions && hidden.is_none();
        let tasks: Vec<Value> =
            self.read(|state| state.tasks.list.iter().map(|task| task_json(task, told)).collect());
        Answer::json(200, Value::from(tasks))
    }

    fn task_status(&self, id: Option<u64>) -> Answer {
        self.read(|state| {
            let task = state.tasks.list.iter().find(|task| Some(task.id) == id);
            match task {
                None => Answer::error(404, "the task does not exist"),
                // The database, which tells the status, is just being replaced.
                Some(task) if task.unreadable => {
                    Answer::error(500, "Failed to get the task status")
                }
                Some(task) => Answer::json(
                    200,
                    json!({
                        "taskId": task.id,
                        "status": task.status,
                        "progress": task.progress,
                        "message": task.message,
                    }),
                ),
            }
        })
    }

    fn cancel_task(&self, id: Option<u64>) -> Answer {
        let cancelled = self.change(|state| {
            let task = state.tasks.get_mut(id?)?;
            let running = task.status == TaskStatus::Running;
            if running {
                // The task ends when it notices; one that was just done stays done.
                task.cancel.cancel();
            }
            Some((task.id, running))
        });
        match cancelled {
            None => Answer::error(404, "the task does not exist"),
            Some((id, false)) => Answer::error(409, format!("the task {id} is not running")),
            Some((id, true)) => self.task_named(id).with_effect("task_cancelled"),
        }
    }

    fn show_group(&self, request: &Request) -> Answer {
        let split = |kind: &FaultKind| matches!(kind, FaultKind::SplitView { .. });
        let omitted = match self.fault(request.occasion(), split) {
            Some(FaultKind::SplitView { omit }) => Some(omit),
            _ => None,
        };
        let mut group = self.read(|state| state.group_json(omitted.as_deref()));
        for member in group["members"].as_array_mut().into_iter().flatten() {
            let name = member["memberName"].as_str().unwrap_or_default().to_owned();
            let shown = |kind: &FaultKind| match kind {
                FaultKind::ShowUsed { member, .. } => *member == name,
                _ => false,
            };
            if let Some(FaultKind::ShowUsed { megabytes, .. }) =
                self.fault(request.occasion(), shown)
            {
                member["usedCapacity"] = Value::from(megabytes);
            }
        }
        Answer::json(200, group)
    }

    fn show_permissions(&self, group: &str) -> Answer {
        let permissions: Vec<Value> = self.read(|state| {
            let grids = state.view.database.grids.iter();
            let of_group = grids.filter(|(_, grid)| {
                let field = |name: &str| grid.settings.get(name);
                field("useAuthorization").and_then(Value::as_bool) == Some(true)
                    && field("groupName").and_then(Value::as_str) == Some(group)
            });
            let permission = |name: &String| {
                json!({"permissions": ["Read"], "resourceName": name, "resourceType": "Grid"})
            };
            of_group.map(|(name, _)| permission(name)).collect()
        });
        Answer::json(200, Value::from(permissions))
    }

    /// Gives the group another password, as an administrator does in the console.
    pub(super) async fn rotate_password(&self, password: String) {
        let user = ADMINISTRATOR.to_owned();
        let change = super::peer::GroupChange::SetPassword { user, password };
        match self.change_own_group(change).await {
            Ok(()) => self.record_effect("", "password_rotated", Default::default()),
            Err(error) => tracing::error!(%error, "the password was not rotated"),
        }
    }
}

/// The answer under the names that this release's profile gives.
fn outward(wire: &Wire, call: Call, answer: Answer) -> Answer {
    let shape = match call {
        Call::ShowGroup => Some(Shape::Group),
        Call::ListTasks | Call::TaskStatus => Some(Shape::Task),
        Call::ListGrids | Call::ShowGrid => Some(Shape::Grid),
        Call::ShowTemplate => Some(Shape::Template),
        _ => None,
    };
    let content = match (answer.content, shape) {
        (Content::Json(value), Some(shape)) => Content::Json(wire.outward(shape, value)),
        (Content::Error(value), _) => {
            let text = value["error"].as_str().map(|text| wire.error(text));
            Content::Error(text.map_or(value, |text| json!({"error": text})))
        }
        (content, _) => content,
    };
    Answer { content, ..answer }
}

fn task_json(task: &Task, with_description: bool) -> Value {
    let mut value = json!({
        "taskId": task.id,
        "command": task.command,
        "status": task.status,
        "progress": task.progress,
        "memberName": task.member,
        "startTime": task.started.to_string(),
    });
    if with_description {
        value["description"] = Value::from(task.description.clone());
    }
    value
}

impl State {
    /// The group as this member shows it.
    fn group_json(&self, omitted: Option<&str>) -> Value {
        let database = &self.view.database;
        let shown = database.members.iter().filter(|entry| Some(entry.name.as_str()) != omitted);
        let members: Vec<Value> = shown
            .map(|entry| {
                let role = match database.replica {
                    Some(_) if entry.id == database.primary => "master",
                    Some(replica) if entry.id == replica => "slave",
                    _ => "none",
                };
                let status = self.view.statuses.get(&entry.id);
                json!({
                    "memberName": entry.name,
                    "hostName": entry.host_name,
                    "ipAddress": entry.address.to_string(),
                    "status": status.unwrap_or(&super::database::MemberStatus::Unreachable),
                    "capacity": entry.capacity,
                    "isCatalog": entry.is_catalog,
                    "isPrimary": entry.id == database.primary,
                    "replicationRole": role,
                })
            })
            .collect();
        let mut group = json!({
            "cacheMemberGroupName": database.group_name,
            "numContainers": members.len(),
            "maxCapacityPerMember": database.members.iter().map(|m| m.capacity).max(),
            "members": members,
        });
        if self.stale && !self.is_primary() {
            group["stale"] = Value::from(true);
        }
        group
    }
}
