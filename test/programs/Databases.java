// Databases.java SETTINGS: Java's HTTP server, which asks by JDBC.
//
//   GET /fresh/KIND/N   a connection for each request       GET /kept/KIND/N   one connection for all
//
// KIND is `read` or `write`. SETTINGS is the port, the JDBC URL, the user and the password, each in a line.
// REGRESSION=value asks for another row. Ends on SIGTERM.
import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.SQLException;
import java.util.concurrent.Executors;

public class Databases {
    private static String url;
    private static String user;
    private static String password;
    private static Connection kept;

    private static Connection connect() throws SQLException {
        return DriverManager.getConnection(url, user, password);
    }

    private static String ask(Connection connection, String kind, int number) throws SQLException {
        if (kind.equals("read")) {
            var sql = "SELECT id, name, height FROM trees WHERE id = ?";
            try (var statement = connection.prepareStatement(sql)) {
                statement.setInt(1, number);
                var rows = statement.executeQuery();
                var answer = new StringBuilder();
                while (rows.next()) answer.append(rows.getInt(1) + " " + rows.getString(2) + " " + rows.getBigDecimal(3));
                return answer.toString();
            }
        }
        try (var statement = connection.prepareStatement("INSERT INTO visits (tree, note) VALUES (?, ?)")) {
            statement.setInt(1, number);
            statement.setString(2, "note " + number);
            return "written " + statement.executeUpdate();
        }
    }

    private static synchronized Connection kept() throws SQLException {
        if (kept == null) kept = connect();
        return kept;
    }

    private static String answer(String path) {
        var parts = path.split("/");
        var number = Integer.parseInt(parts[3]) + ("value".equals(System.getenv("REGRESSION")) ? 1 : 0);
        try {
            if (parts[1].equals("kept")) return ask(kept(), parts[2], number);
            try (var connection = connect()) {
                return ask(connection, parts[2], number);
            }
        } catch (SQLException error) {
            return null;
        }
    }

    public static void main(String[] arguments) throws Exception {
        var settings = arguments[0].split("\n");
        url = settings[1];
        user = settings[2];
        password = settings[3];
        var server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(settings[0])), 50);
        server.setExecutor(Executors.newFixedThreadPool(4));
        server.createContext("/", exchange -> {
            var answer = answer(exchange.getRequestURI().getPath());
            var body = (answer == null ? "failed" : answer).getBytes();
            exchange.sendResponseHeaders(answer == null ? 502 : 200, body.length);
            exchange.getResponseBody().write(body);
            exchange.close();
        });
        server.start();
        // Else the virtual machine tells of the signal by its exit code.
        Runtime.getRuntime().addShutdownHook(new Thread(() -> Runtime.getRuntime().halt(0)));
    }
}
