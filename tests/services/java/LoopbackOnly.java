import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ProtocolFamily;
import java.net.ServerSocket;
import java.net.SocketAddress;
import java.net.SocketOption;
import java.nio.channels.DatagramChannel;
import java.nio.channels.Pipe;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.channels.spi.AbstractSelector;
import java.nio.channels.spi.SelectorProvider;
import java.util.Set;

/**
 * Every listening channel of this JVM is on 127.0.0.1, for a server that takes no address: DynamoDB Local.
 *
 * The JDK's own extension point, told nothing of the server:
 * -Djava.nio.channels.spi.SelectorProvider=LoopbackOnly --add-exports=java.base/sun.nio.ch=ALL-UNNAMED
 *
 * A channel made here can be accepted from but not registered with a selector, which is how Jetty uses its own.
 */
public final class LoopbackOnly extends SelectorProvider {
  private static final byte[] LOOPBACK = {127, 0, 0, 1};

  private final SelectorProvider jdk;

  public LoopbackOnly() throws ReflectiveOperationException {
    jdk = (SelectorProvider) Class.forName("sun.nio.ch.DefaultSelectorProvider").getMethod("get").invoke(null);
  }

  @Override
  public ServerSocketChannel openServerSocketChannel() throws IOException {
    return new Listening(jdk.openServerSocketChannel());
  }

  @Override
  public SocketChannel openSocketChannel() throws IOException {
    return jdk.openSocketChannel();
  }

  @Override
  public DatagramChannel openDatagramChannel() throws IOException {
    return jdk.openDatagramChannel();
  }

  @Override
  public DatagramChannel openDatagramChannel(ProtocolFamily family) throws IOException {
    return jdk.openDatagramChannel(family);
  }

  @Override
  public Pipe openPipe() throws IOException {
    return jdk.openPipe();
  }

  @Override
  public AbstractSelector openSelector() throws IOException {
    return jdk.openSelector();
  }

  private static final class Listening extends ServerSocketChannel {
    private final ServerSocketChannel channel;

    Listening(ServerSocketChannel channel) {
      super(channel.provider());
      this.channel = channel;
    }

    @Override
    public ServerSocketChannel bind(SocketAddress asked, int backlog) throws IOException {
      int port = asked == null ? 0 : ((InetSocketAddress) asked).getPort();
      channel.bind(new InetSocketAddress(InetAddress.getByAddress(LOOPBACK), port), backlog);
      return this;
    }

    @Override
    public SocketChannel accept() throws IOException {
      return channel.accept();
    }

    @Override
    public ServerSocket socket() {
      return channel.socket();
    }

    @Override
    public SocketAddress getLocalAddress() throws IOException {
      return channel.getLocalAddress();
    }

    @Override
    public <T> T getOption(SocketOption<T> option) throws IOException {
      return channel.getOption(option);
    }

    @Override
    public <T> ServerSocketChannel setOption(SocketOption<T> option, T value) throws IOException {
      channel.setOption(option, value);
      return this;
    }

    @Override
    public Set<SocketOption<?>> supportedOptions() {
      return channel.supportedOptions();
    }

    @Override
    protected void implCloseSelectableChannel() throws IOException {
      channel.close();
    }

    @Override
    protected void implConfigureBlocking(boolean blocking) throws IOException {
      channel.configureBlocking(blocking);
    }
  }
}
