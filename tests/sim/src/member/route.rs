//! Which call a request is, by the paths of the profile. Pure.

use std::collections::BTreeMap;

use crate::profile::Profile;

/// A call of the administration or the data API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    ListTasks,
    StartTask,
    TaskStatus,
    CancelTask,
    ShowGroup,
    ListGrids,
    ShowGrid,
    CreateGrid,
    UpdateGrid,
    DeleteGrid,
    ListTemplates,
    ShowTemplate,
    PutTemplate,
    DeleteTemplate,
    ShowPermissions,
    ShowApi,
    PutEntry,
    GetEntry,
    DeleteEntry,
    ClearMap,
    QueryKeys,
}

/// One call as the profile names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) call: Call,
    pub(super) method: &'static str,
    pub(super) path: String,
}

/// Why no call was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoRoute {
    Path,
    Method,
}

/// The names that the braces of a path stand for.
pub(super) type Names = BTreeMap<String, String>;

/// Every call of the administration API.
pub(super) fn admin_routes(profile: &Profile) -> Vec<Route> {
    let paths = &profile.paths;
    let route = |call, method, path: &String| Route {
        call,
        method,
        path: format!("{}{path}", profile.admin_base),
    };
    vec![
        route(Call::ListTasks, "GET", &paths.tasks),
        route(Call::StartTask, "POST", &paths.tasks),
        route(Call::TaskStatus, "GET", &paths.task_status),
        route(Call::CancelTask, "PUT", &paths.cancel_task),
        route(Call::ShowGroup, "GET", &paths.group),
        route(Call::ListGrids, "GET", &paths.grids),
        route(Call::ShowGrid, "GET", &paths.grid),
        route(Call::CreateGrid, "POST", &paths.grid),
        route(Call::UpdateGrid, "PUT", &paths.grid),
        route(Call::DeleteGrid, "DELETE", &paths.grid),
        route(Call::ListTemplates, "GET", &paths.grid_templates),
        route(Call::ShowTemplate, "GET", &paths.grid_template),
        route(Call::PutTemplate, "PUT", &paths.grid_template),
        route(Call::DeleteTemplate, "DELETE", &paths.grid_template),
        route(Call::ShowPermissions, "GET", &paths.permissions),
        Route { call: Call::ShowApi, method: "GET", path: paths.api_docs.clone() },
    ]
}

/// Every call of the data API.
pub(super) fn data_routes(profile: &Profile) -> Vec<Route> {
    let paths = &profile.paths;
    let route = |call, method, path: &String| Route {
        call,
        method,
        path: format!("{}{path}", profile.data_base),
    };
    vec![
        route(Call::PutEntry, "POST", &paths.entry),
        route(Call::GetEntry, "GET", &paths.entry),
        route(Call::DeleteEntry, "DELETE", &paths.entry),
        route(Call::ClearMap, "DELETE", &paths.map),
        route(Call::QueryKeys, "GET", &paths.query),
        Route { call: Call::ShowApi, method: "GET", path: paths.api_docs.clone() },
    ]
}

/// Finds the call, and what the braces of its path stand for.
pub(super) fn find(routes: &[Route], method: &str, path: &str) -> Result<(Call, Names), NoRoute> {
    let mut failure = NoRoute::Path;
    for route in routes {
        let Some(names) = matches(&route.path, path) else { continue };
        if route.method == method {
            return Ok((route.call, names));
        }
        failure = NoRoute::Method;
    }
    Err(failure)
}

/// What the braces of `template` stand for in `path`; one slash at the end more or less is the
/// same path.
fn matches(template: &str, path: &str) -> Option<Names> {
    let mut names = Names::new();
    let mut given = path.strip_suffix('/').unwrap_or(path).split('/');
    for part in template.split('/') {
        let segment = given.next()?;
        match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
            Some(name) if !segment.is_empty() => {
                names.insert(name.to_owned(), decoded(segment)?);
            }
            Some(_) => return None,
            None if part == segment => {}
            None => return None,
        }
    }
    given.next().is_none().then_some(names)
}

/// A path segment or a query value without its percent signs; `None` when it is not UTF-8.
pub(super) fn decoded(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let high = char::from(rest.next()?).to_digit(16)?;
        let low = char::from(rest.next()?).to_digit(16)?;
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}

/// The first value of a query's parameter.
pub(super) fn parameter(query: &str, name: &str) -> Option<String> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(key, _)| *key == name)?;
    decoded(&value.replace('+', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admin(method: &str, path: &str) -> Result<(Call, Names), NoRoute> {
        find(&admin_routes(&Profile::default()), method, path)
    }

    #[test]
    fn calls_are_found_by_method_and_path() {
        assert_eq!(admin("GET", "/wxsadmin/v1/task").unwrap().0, Call::ListTasks);
        let (call, names) = admin("GET", "/wxsadmin/v1/task/17/status").unwrap();
        assert_eq!((call, names["id"].as_str()), (Call::TaskStatus, "17"));
        let (call, names) = admin("PUT", "/wxsadmin/v1/task/cancel/17/force").unwrap();
        assert_eq!((call, names["id"].as_str()), (Call::CancelTask, "17"));
        assert_eq!(admin("DELETE", "/wxsadmin/v1/task"), Err(NoRoute::Method));
        assert_eq!(admin("GET", "/wxsadmin/v1/tasks"), Err(NoRoute::Path));
        assert_eq!(admin("GET", "/wxsadmin/v1/grid/").unwrap().0, Call::ListGrids);
    }

    #[test]
    fn segments_are_decoded_and_slashes_in_keys_survive() {
        let routes = data_routes(&Profile::default());
        let path = "/wxsdata/v1/grids/g/testmap.LUT.O/a%2Fb%20c";
        let (call, names) = find(&routes, "GET", path).unwrap();
        assert_eq!((call, names["key"].as_str()), (Call::GetEntry, "a/b c"));
        let path = "/wxsdata/v1/grids/g/testmap.LUT.O/";
        assert_eq!(find(&routes, "DELETE", path).unwrap().0, Call::ClearMap);
        assert!(find(&routes, "GET", "/wxsdata/v1/grids/g/m/%zz").is_err());
    }

    #[test]
    fn query_parameters_are_decoded() {
        assert_eq!(parameter("ttl=60&query=a%2E*", "query").unwrap(), "a.*");
        assert_eq!(parameter("ttl=60", "query"), None);
    }
}
